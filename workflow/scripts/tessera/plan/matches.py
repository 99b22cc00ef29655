"""What the rules of matching ask: the two sides of a match, and what is read of each."""

from tessera.features.registry import kind
from tessera.plan.cells import shards_of
from tessera.probes.registry import LOGISTIC
from tessera.study import paths, untrained
from tessera.study.saes import SIDES, same_sae
from tessera.study.study import Study

CARRIED = ("sae", "hidden")  # kinds of features whose probes are carried over
PARTS = {
    "match": ("pairings", "matches", "histograms"),
    "carry": ("scores", "predictions", "claims"),
}


def sides(study: Study, match: str) -> dict[str, dict[str, str]]:
    """Model, layer and width on either side."""
    return {side: study.matches[match][side] for side in SIDES}


def texts(study: Study, match: str) -> list[str]:
    return study.matches[match]["texts"]


def data(study: Study, match: str) -> list[str]:
    return study.matches[match]["data"]


def all_data(study: Study, match: str) -> list[str]:
    """The data sets of a match, each once."""
    return list(dict.fromkeys([*texts(study, match), *data(study, match)]))


def text_examples(study: Study, match: str) -> list[str]:
    return [paths.EXAMPLES.format(data=one) for one in texts(study, match)]


def all_examples(study: Study, match: str) -> list[str]:
    return [paths.EXAMPLES.format(data=one) for one in all_data(study, match)]


def is_same(study: Study, match: str) -> bool:
    return same_sae(study.matches[match], study)


def _features(study: Study, cell: dict[str, str], several: list[str]) -> list[str]:
    return [
        paths.FEATURES.format(data=one, pooling=pooling, **cell)
        for one in several
        for pooling in study.grid["poolings"]
    ]


def text_features(study: Study, match: str, side: str) -> list[str]:
    """The pooled latents of one side on the texts that match it."""
    return _features(study, study.matches[match][side], texts(study, match))


def data_features(study: Study, match: str, side: str) -> list[str]:
    """The same on the data sets whose probes are carried."""
    return _features(study, study.matches[match][side], data(study, match))


def random_saes(study: Study, match: str) -> dict[str, dict[str, str]]:
    """Model, layer and width of the random SAEs on either side."""
    return {side: {**cell, "width": untrained.width(match, cell, side)} for side, cell in sides(study, match).items()}


def random_features(study: Study, match: str, side: str) -> list[str]:
    """Their pooled latents, on all data sets of the match."""
    return _features(study, random_saes(study, match)[side], all_data(study, match))


def text_shards(study: Study, match: str, side: str) -> list[str]:
    """The activations of one side that hold both its latents and its hidden states, of the texts that match it."""
    cell = study.matches[match][side]
    return [shard for one in texts(study, match) for shard in shards_of(study, one, **cell)]


def all_shards(study: Study, match: str, side: str) -> list[str]:
    """The same of all data sets of the match."""
    cell = study.matches[match][side]
    return [shard for one in all_data(study, match) for shard in shards_of(study, one, **cell)]


def probed(study: Study, match: str, side: str) -> list[str]:
    """Scores and coefficients of the probes that are carried, on the latents of one side and on its hidden states."""
    found = []
    for one in map(kind, CARRIED):
        place = {axis: study.matches[match][side][axis] for axis in one.place} | {"probe": LOGISTIC}
        found += [
            one.path.format(part=part, data=name, **place, **cell)
            for name in data(study, match)
            for cell in one.cells(study, one.axes)
            for part in ("scores", "coefficients")
        ]
    return found


def cells(study: Study) -> list[dict[str, str]]:
    """The cells of latents, in the order of the grid."""
    return kind("sae").cells(study, kind("sae").axes)


def every_part(study: Study, part: str) -> list[str]:
    """One part of every match."""
    return [paths.MATCH.format(match=match, part=part) for match in study.matches]
