"""What the rules of transfer ask: a scenario for one source, and the transferred cells of every kind of features."""

from tessera.features.registry import kind
from tessera.plan import data as plan
from tessera.plan.cells import TRANSFER_PARTS, asked, inputs, patterns
from tessera.study import paths
from tessera.study.study import Study


def spec(study: Study, scenario: str, source: str) -> dict:
    """What the library's Transfer takes of a scenario, for one source, or for a target that is none."""
    entry = study.transfers[scenario]
    if source not in (*entry["sources"], paths.JOINT):  # a target alone: its native probe
        return {"sources": [source], "targets": [source], "translated": {}, "fractions": entry["fractions"]}
    kept = {key: entry[key] for key in ("targets", "translated", "fractions")}
    return {"sources": entry["sources"] if source == paths.JOINT else [source], **kept}


def data(study: Study, scenario: str, source: str) -> list[str]:
    """The data sets that one source of a scenario needs, each once."""
    here = spec(study, scenario, source)
    return list(dict.fromkeys([*here["sources"], *here["targets"], *here["translated"].values()]))


def repeats(study: Study, scenario: str, source: str) -> dict[str, int]:
    """How often the split of each of those data sets is drawn."""
    return {one: plan.repeats(study, one) for one in data(study, scenario, source)}


def examples(study: Study, scenario: str, source: str) -> list[str]:
    return [paths.EXAMPLES.format(data=one) for one in data(study, scenario, source)]


def features(study: Study, name: str, scenario: str, source: str, **place: str) -> list[str]:
    """What a kind of features reads of those data sets, beside their examples."""
    return [file for one in data(study, scenario, source) for file in inputs(study, name, one, **place)]


def transferred(study: Study) -> list[str]:
    """The kinds of features that have a transferred cell in a study."""
    return [name for name in asked(study) if any(_places(study, name))]


def _places(study: Study, name: str):
    """Every scenario, source and place at which a kind is transferred: where it is read of all data sets it needs."""
    if not kind(name).transfers:
        return
    for scenario, entry in study.transfers.items():
        needed = {*entry["sources"], *entry["targets"], *entry["translated"].values()}
        alone = [target for target in entry["targets"] if target not in entry["sources"]]
        for source in [*entry["sources"], *alone, *([paths.JOINT] if entry["joint"] else [])]:
            for place in kind(name).places(study):
                if needed <= {*kind(name).data(study, place)}:
                    yield {"scenario": scenario, "source": source, **place}


def values(study: Study, name: str) -> dict[str, list[str]]:
    """axis → its values, of those that transferred cells have."""
    return {axis: found for axis, found in kind(name).values(study).items() if axis in kind(name).transfer_axes}


def outputs(study: Study, name: str) -> list[str]:
    """Every part of every transferred cell of a job, the job's own axes left as wildcards."""
    return patterns(kind(name).transfer_path, kind(name).cells(study, kind(name).transfer_axes), TRANSFER_PARTS)


def every_cell(study: Study, part: str) -> list[str]:
    """One part (scores, predictions) of every transferred cell."""
    found = []
    for name in transferred(study):
        cells = kind(name).cells(study, kind(name).transfer_axes)
        for place in _places(study, name):
            found += [kind(name).transfer_path.format(part=part, **place, **cell) for cell in cells]
    return found
