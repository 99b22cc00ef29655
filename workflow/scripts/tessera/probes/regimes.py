"""Probes in regimes: the cells of one job, fitted on training splits that are small, unequal, or partly wrong."""

import logging
from pathlib import Path

import polars as pl

from tessera.base.errors import TesseraError
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.probes.registry import LOGISTIC
from tessera.probes.task import Task, cells_of

SAID = ("repeat", "example", "id", "split", "group", "label", "predicted")

log = logging.getLogger("tessera")


def tasks_of(
    frame: pl.DataFrame, data: str, settings: dict, repeats: int, levels: list[tuple[str, float]]
) -> dict[tuple[str, float], list[Task]]:
    """The tasks of a data set in each regime and level, one per repeat.

    Raises:
        TesseraError: a level leaves a class too small for the folds; names its key.
    """
    found = {}
    for name, level in levels:
        try:
            several = [Task(frame, **settings, repeat=repeat, regime=(name, level)) for repeat in range(repeats)]
        except TesseraError as error:
            raise TesseraError(f"config key regimes.{name}: at {level:g} of {data}, {error}; drop this level") from None
        found[name, level] = several
    return found


def regime_cells(
    name: str,
    examples: str,
    files: list[str],
    place: dict[str, str],
    values: dict[str, list[str]],
    settings: dict,
    levels: list[tuple[str, float]],
    repeats: int = 1,
    probe: str = LOGISTIC,
    device: str = "cpu",
) -> dict[str, pl.DataFrame]:
    """Scores and predictions of every cell of `probe_cells` in every regime, which has columns of its own in front.

    Everything is chosen as there, by folds inside the training split that the regime leaves.
    """
    tasks = tasks_of(read_examples(examples), place["data"], settings, repeats, levels)
    stored, parts = Stored(Path(examples), files, place), {"scores": [], "predictions": []}
    for (regime, level), several in tasks.items():
        for here, cell in cells_of(several, name, stored, values, probe, device):
            columns = [pl.lit(value).alias(key) for key, value in {"regime": regime, "level": level, **here}.items()]
            parts["scores"].append(cell.scores.select(*columns, pl.all()))
            parts["predictions"].append(cell.predictions.select(*columns, *SAID))
            log.info("%s %g, %s: %s", regime, level, here, cell.scores.to_dicts())
    return {part: pl.concat(frames) for part, frames in parts.items()}
