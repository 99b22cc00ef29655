"""Spaces that are there already: nothing is fitted in a fold."""

from tessera.features.spaces import Space
from tessera.probes.fit import Folds


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
