"""What the rules of evidence ask: places, what is read at each, what a study has of it."""

from tessera.base.errors import TesseraError
from tessera.base.files import resolve
from tessera.features.registry import KINDS
from tessera.plan.cells import at, shards, shards_of
from tessera.plan.saes import entry
from tessera.probes.registry import LOGISTIC
from tessera.results.entries import per_place
from tessera.study import evidence, paths
from tessera.study.config import filled
from tessera.study.evidence import AXES
from tessera.study.media import holds
from tessera.study.study import Study

PARTS = {
    "weigh_latents": ("latents", "shown"),
    "read_contexts": ("contexts", "specificity", "histograms"),
    "explain_decisions": ("decisions", "decision_latents"),
    "draw_maps": ("maps",),
    "suffice": ("sufficiency", "suffices", "stability"),
    "need": ("ablations", "needed", "harm", "answers"),
}  # what each rule leaves at a place
KEYS = {"draw_maps": "maps", "need": "in_model"}  # what names the places of a rule, of those that are not of all
Place = dict[str, str]


def places(study: Study, key: str = "places") -> list[Place]:
    """The places that a study looks into, or (`in_model`, `maps`) looks into further."""
    return per_place(study, key)


def parts(study: Study, rule: str) -> dict[str, str]:
    """What a rule leaves at a place: part → file, wildcards left open."""
    return {part: paths.EVIDENCE.replace("{part}", part) for part in PARTS[rule]}


def every_part() -> list[str]:
    """The parts of all rules."""
    return [part for parts in PARTS.values() for part in parts]


def every(study: Study, part: str) -> list[str]:
    """A part of every place that has it."""
    key = next((key for rule, key in KEYS.items() if part in PARTS[rule]), "places")
    return [paths.EVIDENCE.format(part=part, **place) for place in places(study, key)]


def cells(study: Study, model: str, layer: str, width: str, data: str) -> list[str]:
    """Scores and coefficients of every cell of a place, of logistic regression: a decision is a sum over latents."""
    parts, place = ("scores", "coefficients"), {"model": model, "layer": layer, "width": width, "data": data}
    return at(study, "sae", LOGISTIC, parts, **place)


def hidden_cells(study: Study, model: str, layer: str, data: str) -> list[str]:
    """Scores of every cell of the hidden states there."""
    return at(study, "hidden", LOGISTIC, ("scores",), model=model, layer=layer, data=data)


def features(study: Study, data: str, **place: str) -> list[str]:
    """The pooled latents of a place, in every pooling."""
    return KINDS["sae"].inputs(study, shards(study, data), data, **place)


def seeds(study: Study, model: str, layer: str, width: str, data: str) -> list[str]:
    """The same of the other draws of its SAE."""
    here = study.drawn(model, width)[:2]
    drawn = [
        cell["width"]
        for cell in study.sae_cells()
        if (cell["model"], cell["layer"]) == (model, layer) and study.drawn(model, cell["width"])[:2] == here
    ]
    several = [other for other in drawn if other != width]
    return [file for other in several for file in features(study, data, model=model, layer=layer, width=other)]


def ids(study: Study, model: str, layer: str, width: str, data: str) -> list[int]:
    """The latents that a config asks for by number."""
    place = model, layer, width, data
    found = [ids for name, ids in study.evidence["ids"].items() if place in evidence.named(study, [name])]
    return sorted({latent for some in found for latent in some})


def neutral(study: Study, model: str, width: str, data: str) -> list[str]:
    """The data sets of neutral texts."""
    return evidence.neutral(study, study.evidence.get("neutral"), model, width, data)


def neutral_shards(study: Study, model: str, layer: str, width: str, data: str) -> list[str]:
    """Their activations."""
    place = {"model": model, "layer": layer, "width": width}
    return [file for one in neutral(study, model, width, data) for file in shards_of(study, data=one, **place)]


def other_texts(study: Study, model: str, width: str, data: str) -> list[str]:
    """Their examples."""
    return [paths.EXAMPLES.format(data=one) for one in neutral(study, model, width, data)]


def shown(study: Study, model: str, layer: str, width: str) -> list[str]:
    """The latents that are shown at a place, of every data set."""
    return [paths.EVIDENCE.format(part="shown", **one) for one in looked(study, model, layer, width)]


def writes(study: Study) -> list[str]:
    """What the latents of every SAE write."""
    return list(dict.fromkeys(paths.WRITES.format(**place) for place in places(study)))


def explanations(study: Study, model: str, layer: str, width: str) -> list[str]:
    """The user's file of explanations of an SAE's latents, if any."""
    one = entry(study, model, width)
    return [str(filled(one["explanations"], layer, width))] if "explanations" in one else []


def ablations(study: Study, model: str, layer: str, width: str, data: str) -> list[str]:
    """What ablations left of a data set, in all its shards."""
    place = {"model": model, "layer": layer, "width": width, "data": data}
    return [paths.ABLATIONS.format(shard=shard, **place) for shard in shards(study, data)]


def shard_count(study: Study, data: str) -> int:
    return len(shards(study, data))


def prompts(study: Study, model: str, data: str) -> dict | None:
    """The entry of a data set that this model answered; None of another's."""
    one = study.datasets[data]
    return one if one.get("answered", {}).get("model") == model else None


def truths(study: Study) -> list[str]:
    """The user's files of directions that are known, one per model that has any."""
    return [str(resolve(file)) for file in study.truths.values()]


def known_decoders(study: Study) -> list[str]:
    """What the latents of every SAE of such a model write."""
    return [paths.DECODER.format(**cell) for cell in study.sae_cells() if cell["model"] in study.truths]


def known_latents(study: Study) -> list[str]:
    """The latents of every place of such a model."""
    return [paths.EVIDENCE.format(part="latents", **one) for one in places(study) if one["model"] in study.truths]


def abroad(study: Study) -> list[str]:
    """Where latents of a source are held against its targets: every scenario and source at a place of evidence."""
    found = []
    for place in places(study):
        here = {axis: place[axis] for axis in AXES[:-1]}
        for scenario, one in study.transfers.items():
            if place["data"] in one["sources"] and targets(study, scenario, place["data"], place["model"]):
                found.append(paths.ABROAD.format(scenario=scenario, source=place["data"], **here))
    return found


def targets(study: Study, scenario: str, source: str, model: str) -> list[str]:
    """The other data sets that a scenario's source is scored on, those that the model reads."""
    return [one for one in study.transfers[scenario]["targets"] if one != source and one in study.data_of(model)]


def target_examples(study: Study, scenario: str, source: str, model: str) -> list[str]:
    return [paths.EXAMPLES.format(data=data) for data in targets(study, scenario, source, model)]


def target_shards(study: Study, scenario: str, source: str, model: str, layer: str, width: str) -> list[str]:
    place = {"model": model, "layer": layer, "width": width}
    return [file for data in targets(study, scenario, source, model) for file in shards_of(study, data=data, **place)]


def source_shown(study: Study, source: str, model: str, layer: str, width: str) -> str:
    return paths.EVIDENCE.format(part="shown", model=model, layer=layer, width=width, data=source)


def neuronpedia(study: Study) -> list[str]:
    """The folders of what Neuronpedia can import: of each SAE on texts that a study looked into.

    Raises:
        TesseraError: it looked into none.
    """
    found = [one for one in places(study) if holds(study.datasets[one["data"]]) == "text"]
    if not found:
        raise TesseraError("the study looked into no SAE on texts; config key evidence.places names those to look into")
    return list(dict.fromkeys(paths.NEURONPEDIA.format(**one) for one in found))


def looked(study: Study, model: str, layer: str, width: str) -> list[Place]:
    """The places of evidence of an SAE, one of each data set."""
    here = {"model": model, "layer": layer, "width": width}
    return [one for one in places(study) if here.items() <= one.items()]


def looked_contexts(study: Study, model: str, layer: str, width: str) -> list[str]:
    return [paths.EVIDENCE.format(part="contexts", **one) for one in looked(study, model, layer, width)]


def looked_shards(study: Study, model: str, layer: str, width: str) -> list[str]:
    return [file for one in looked(study, model, layer, width) for file in shards_of(study, **one)]
