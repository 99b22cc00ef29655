"""Spaces that are there already: nothing is fitted in a fold; and tasks made by hand."""

import numpy as np
import polars as pl
from tessera.features.spaces import Space
from tessera.probes.fit import Folds
from tessera.probes.task import Task

SETTINGS = {"seed": 0, "folds": 5, "resamples": 100, "C": [0.001, 0.01, 0.1, 1.0, 10.0]}


class AsIs(Space):
    """Leaves features as they are."""

    def apply(self, features):
        return features


def as_folds(matrix_EK, label_E, fold_E):
    """The folds of a matrix that is not fitted anew in each."""
    return Folds(matrix_EK, label_E, fold_E, lambda train: AsIs())


def folds_of(task, matrix_EK):
    return as_folds(matrix_EK[task.train_E], task.label_E[task.train_E], task.fold_E)


def run(task, matrix_EK, space=None, selected=None):
    """The cell of a matrix that `space` made."""
    return task.run(matrix_EK, space or AsIs(), folds_of(task, matrix_EK), selected)


def task_of(label_E: np.ndarray, tests: int, repeat: int = 0) -> Task:
    """The last `tests` examples are the test split."""
    size = len(label_E)
    names = [str(number) for number in range(size)]
    frame = pl.DataFrame(
        {
            "example": np.arange(size, dtype=np.uint32),
            "id": names,
            "group": names,
            "text": names,
            "label": [f"class {label}" for label in label_E],
            "split": ["train"] * (size - tests) + ["test"] * tests,
        }
    )
    return Task(frame, **SETTINGS, repeat=repeat)
