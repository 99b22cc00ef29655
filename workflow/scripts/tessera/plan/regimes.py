"""What the rules of regimes ask: their levels, and the cells of every job in them."""

from tessera.examples.examples import load_examples
from tessera.features.registry import kind, places
from tessera.plan import cells
from tessera.plan.data import repeats
from tessera.study.study import Study

PARTS = ("scores", "predictions")


def levels(study: Study) -> list[list]:
    """[regime, level] of every level of every regime."""
    return [[name, level] for name, several in study.regimes.items() for level in several]


def fits(study: Study) -> list[tuple[str, str]]:
    """Every kind of features and kind of probe on it, where a study has regimes."""
    return cells.fits(study) if levels(study) else []


def outputs(name: str, probe: str) -> list[str]:
    """Every part of a job, its own axes left as wildcards."""
    return cells.patterns(kind(name).regimes_path, [{"probe": probe}], PARTS)


def every_job(study: Study, part: str) -> list[str]:
    """One part of the cells of every job."""
    return [
        kind(name).regimes_path.format(part=part, probe=probe, data=data, **place)
        for name, probe in fits(study)
        for place, data in places(study, name)
    ]


def check(study: Study) -> None:
    """Do all levels leave a training text per class and fold, as far as data sets are local files?

    Raises:
        TesseraError: names the key.
    """
    from tessera.probes.regimes import tasks_of

    for data, spec in study.datasets.items():
        if not {"hub", "answered"} & set(spec):  # the jobs check those
            frame = load_examples(data, spec, seed=study.seed, whole=False)
            tasks_of(frame, data, study.settings, repeats(study, data), levels(study))
