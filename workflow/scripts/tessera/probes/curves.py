"""Learning curves: the probe of a cell fitted on ever larger shares of the training split."""

import logging
from pathlib import Path

import polars as pl

from tessera.base.errors import TesseraError
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.probes.registry import LOGISTIC, probe_kind
from tessera.probes.task import Task

FRACTIONS = (0.1, 0.2, 0.4, 0.7, 1.0)  # of the training split, each within the next

log = logging.getLogger("tessera")


def learning_curve(
    name: str, examples: str, files: list[str], place: dict[str, str], settings: dict, repeats: int = 1
) -> pl.DataFrame:
    """The scores of one cell, a row per share, repeat and test split; the last share is the cell itself.

    From the file of the examples and the files of its features; `place` is the whole cell's. A share that leaves a
    class too small for the folds is left out, and the log says so.
    """
    frame, one, how = read_examples(examples), kind(name), probe_kind(place.get("probe", LOGISTIC))
    here = {axis: place.get(axis) for axis in ("pooling", "threshold")}
    features = one.load(Stored(Path(examples), files, place), here["pooling"])
    scores = []
    for fraction in FRACTIONS:
        try:
            tasks = [Task(frame, **settings, repeat=repeat, regime=("scarcity", fraction)) for repeat in range(repeats)]
        except TesseraError as error:
            if fraction == 1:
                raise
            log.warning("share %g of the training split is left out: %s", fraction, error)
            continue
        for task in tasks:
            (cell,) = task.fit(one, features, **here, selections=[place.get("selection", "none")], how=how)
            scores.append(cell.scores.select(pl.lit(fraction).alias("fraction"), pl.all()))
    return pl.concat(scores)
