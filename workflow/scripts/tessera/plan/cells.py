"""What the rules of activations, features, probes and transfer ask: shards, and the cells of every kind of features."""

from tessera.features.registry import KINDS, kind, places
from tessera.plan.data import size
from tessera.probes.registry import PROBES, probe_kind
from tessera.study import paths
from tessera.study.study import Study
from tessera.study.untrained import is_control

PARTS = ("scores", "predictions")
OF_LINEAR = (*PARTS, "coefficients")
TRANSFER_PARTS = ("scores", "predictions")


def shards(study: Study, data: str) -> range:
    """The shard numbers of a data set: ranges of shard_size examples."""
    return range(-(-size(study, data) // study.shard_size))


def every_shard(study: Study, pattern: str) -> list[str]:
    """`pattern` for every model × data set × pass × shard, but for the random SAEs of matches."""
    return [
        pattern.format(model=model, data=data, shard=shard, **{"pass": number})
        for model, spec in study.models.items()
        for data in study.data_of(model)
        for number, one_pass in enumerate(spec["passes"])
        if not is_control(one_pass)
        for shard in shards(study, data)
    ]


def every_input(study: Study, name: str) -> list[str]:
    """What a kind of features reads of every data set that it is asked for on, each file once."""
    asked_for = places(study, name) if kind(name).asked(study) else ()
    return list(dict.fromkeys(file for place, data in asked_for for file in inputs(study, name, data, **place)))


def shards_of(study: Study, data: str, model: str, layer: str, width: str | None = None) -> list[str]:
    """The activations of a data set that hold a layer (and a width) of a model."""
    place = {"model": model, "data": data, "pass": study.pass_of(model, layer, width)}
    return [paths.ACTIVATIONS.format(shard=shard, **place) for shard in shards(study, data)]


def asked(study: Study) -> list[str]:
    """The kinds of features that have a cell in a study."""
    return [name for name, one in KINDS.items() if one.asked(study) and any(places(study, name))]


def fits(study: Study) -> list[tuple[str, str]]:
    """Every kind of features and kind of probe on it that has a cell in a study."""
    return [(name, probe) for name in asked(study) for probe in probes_of(study, name)]


def probes_of(study: Study, name: str) -> list[str]:
    """The kinds of probes on a kind of features."""
    return [probe for probe in PROBES if probe == kind(name).probe or name in study.probes.get(probe, ())]


def inputs(study: Study, name: str, data: str, **place: str) -> list[str]:
    """What a kind of features reads of a data set, beside its examples."""
    return kind(name).inputs(study, shards(study, data), data, **place)


def outputs(study: Study, name: str, probe: str) -> list[str]:
    """Every part of every cell of a job, the job's own axes left as wildcards."""
    cells = [{**cell, "probe": probe} for cell in kind(name).cells(study, kind(name).axes)]
    return patterns(kind(name).path, cells, OF_LINEAR if probe_kind(probe).linear else PARTS)


def rule(name: str, probe: str) -> str:
    """The name of the rule of a kind of features and of probe."""
    return f"probe_{name}" if probe == kind(name).probe else f"probe_{name}_{probe}"


def device(study: Study, probe: str) -> str:
    """Where a kind of probe is fitted: cpu, or cuda."""
    return study.probe["device"] if probe_kind(probe).on_gpu else "cpu"


def gpu(study: Study, probe: str) -> dict[str, int]:
    """The resource that a job needs, if it needs one."""
    return {"gpu": 1} if device(study, probe) == "cuda" else {}


def group(study: Study, probe: str) -> str | None:
    """The group that jobs share a Slurm job in: what needs no GPU does not wait for one."""
    return None if gpu(study, probe) else "cells"


def environment(study: Study, name: str, probe: str) -> str:
    """The file of envs/ that a job needs."""
    if gpu(study, probe):
        return "exports"
    return probe_kind(probe).environment or kind(name).environment


def patterns(path: str, cells: list[dict[str, str]], parts: tuple[str, ...]) -> list[str]:
    """`path` for each part of each cell, the other axes left as wildcards."""
    found = []
    for cell in cells:
        for part in parts:
            pattern = path
            for axis, value in {**cell, "part": part}.items():
                pattern = pattern.replace(f"{{{axis}}}", value)
            found.append(pattern)
    return found


def every_cell(study: Study, part: str, only: str | None = None) -> list[str]:
    """One part (scores, predictions, coefficients) of every cell that has it, or of those of one kind of features."""
    found = []
    for name, probe in fits(study):
        if only in (None, name) and (part in PARTS or probe_kind(probe).linear):
            cells = kind(name).cells(study, kind(name).axes)
            for place, data in places(study, name):
                here = {"part": part, "probe": probe, "data": data, **place}
                found += [kind(name).path.format(**here, **cell) for cell in cells]
    return found


def at(study: Study, name: str, probe: str, parts: tuple[str, ...], **place: str) -> list[str]:
    """Parts of every cell of a kind of features and of probe at a place and data set."""
    path, found = kind(name).path, kind(name).cells(study, kind(name).axes)
    return [path.format(part=part, probe=probe, **place, **cell) for cell in found for part in parts]


def named_cells(study: Study, wanted: str) -> list[str]:
    """The scores of the cells that `wanted` names: values of their paths, from the left, as sae/smollm2/10/1k/sst2.

    Raises:
        ValueError: it names none.
    """
    every = every_cell(study, "scores")
    found = [file for file in every if paths.is_within(file, wanted)]
    if not found:
        raise ValueError(f"cell={wanted or '?'} names no cell; for example --config cell={paths.short_name(every[0])}")
    return found


def with_latents(study: Study, part: str) -> list[str]:
    """One part of every cell whose columns are latents."""
    return [file for name in asked(study) if kind(name).latents for file in every_cell(study, part, name)]
