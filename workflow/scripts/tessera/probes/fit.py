"""The one probe: thresholding, choice of C inside the training split, fit, and a single look at the test splits."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tessera.features.spaces import Features, Space
from tessera.probes.metrics import confusion_scores
from tessera.probes.selection import Selected
from tessera.probes.verdicts import quantile

DENSE = 2**21  # entries of a matrix up to which the solver has it dense: 16 MiB
TOLERANCE = 1e-6  # of folds and final fit: at 1e-3 one cell in four chose another C


@dataclass
class Probe:
    """A fitted L2 logistic regression: decision = features · weights_CKᵀ + intercept_C (one row for two classes).

    columns_K: the columns of the features that it uses, where they were selected.
    """

    classes: list[str]
    weights_CK: np.ndarray
    intercept_C: np.ndarray
    C: float
    C_at_edge: bool
    cv_macro_f1: float
    converged: bool
    columns_K: np.ndarray | None = None

    def decisions(self, features_EK) -> np.ndarray:
        """[E, C], or [E, 1] for two classes."""
        return np.asarray(columns_of(features_EK, self.columns_K) @ self.weights_CK.T) + self.intercept_C

    def probabilities(self, features_EK) -> np.ndarray:
        """Class probabilities [E, C]."""
        return softmax(self.decisions(features_EK))


def softmax(decision_EC: np.ndarray) -> np.ndarray:
    """Class probabilities [E, C] of decisions [E, C], or [E, 1] for two classes."""
    if decision_EC.shape[1] == 1:
        decision_EC = np.hstack([np.zeros_like(decision_EC), decision_EC])
    odds_EC = np.exp(decision_EC - decision_EC.max(axis=1, keepdims=True))
    return odds_EC / odds_EC.sum(axis=1, keepdims=True)


def columns_of(features_EK, columns_K: np.ndarray | None):
    return features_EK if columns_K is None else features_EK[:, columns_K]


@dataclass
class Fold:
    """The training examples that a fold fits on and those that it holds out, in the space fitted on the former."""

    inside_EK: Features
    label_E: np.ndarray
    outside_EK: Features
    outside_label_E: np.ndarray


@dataclass
class Folds:
    """The folds of the training examples, each in a space of its own: nothing is fitted on what it holds out.

    Made anew whenever they are gone through, so that one alone is in memory.
    """

    train: Features
    label_E: np.ndarray
    fold_E: np.ndarray
    fit_space: Callable[[Features], Space]

    def __iter__(self) -> Iterator[Fold]:
        for fold in np.unique(self.fold_E):
            out_E = self.fold_E == fold
            space = self.fit_space(self.train[~out_E])
            matrices = [space.apply(self.train[rows_E]) for rows_E in (~out_E, out_E)]
            yield Fold(matrices[0], self.label_E[~out_E], matrices[1], self.label_E[out_E])


def fit_probe(
    train_EK: Features,
    label_E: np.ndarray,
    folds: Iterable[Fold],
    names: list[str],
    grid: list[float],
    selected: Selected | None = None,
) -> Probe:
    """Choose C by macro F1 over the folds inside the training split (the smaller of equals), then refit on all of it.

    Args:
        train_EK: training features, CSR or dense float32.
        label_E: class numbers into `names`.
        grid: values of C.
        selected: the columns to use, where not all; a fold's were chosen without what it holds out.
    """
    with threadpool_limits(1):
        grid = sorted(grid)
        columns_F = selected.folds if selected else repeat(None)
        f1_FG = np.array([_fold_scores(fold, columns, grid) for fold, columns in zip(folds, columns_F, strict=False)])
    best = int(f1_FG.mean(axis=0).argmax())
    probe = fit_at(train_EK, label_E, names, grid[best], selected and selected.whole)
    return replace(probe, C_at_edge=_at_edge(f1_FG, best), cv_macro_f1=float(f1_FG.mean(axis=0)[best]))


def fit_at(
    train_EK: Features, label_E: np.ndarray, names: list[str], C: float, columns_K: np.ndarray | None = None
) -> Probe:
    """The probe at a C that is known, of all columns or some: no folds, and so no cross-validated score."""
    model = _logistic(C)
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(_for_solver(train_EK, columns_K), label_E)
    return Probe(
        classes=names,
        weights_CK=_as_kept(model.coef_),
        intercept_C=_as_kept(model.intercept_),
        C=C,
        C_at_edge=False,
        cv_macro_f1=np.nan,
        converged=not any(issubclass(warning.category, ConvergenceWarning) for warning in caught),
        columns_K=columns_K,
    )


def _as_kept(weights: np.ndarray) -> np.ndarray:
    """As float32, in which a cell keeps them: its probe, read back, tells every example the same to the last bit."""
    return weights.astype(np.float32).astype(np.float64)


def _for_solver(features_EK: Features, columns_K: np.ndarray | None) -> Features:
    """Double precision; dense where that is small, for a sparse product costs more to set up than such a one takes."""
    chosen = columns_of(features_EK, columns_K).astype(np.float64)
    return chosen.toarray() if sp.issparse(chosen) and np.prod(chosen.shape) <= DENSE else chosen


def _logistic(C: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=C, class_weight="balanced", tol=TOLERANCE, max_iter=5000, warm_start=warm_start)


def _fold_scores(fold: Fold, columns_K: np.ndarray | None, grid: list[float]) -> list[float]:
    """Macro F1 on what a fold holds out for ascending C, each fit starting from the last one's optimum."""
    inside, outside = (_for_solver(part, columns_K) for part in (fold.inside_EK, fold.outside_EK))
    model = _logistic(grid[0], warm_start=True)
    classes = int(max(fold.label_E.max(), fold.outside_label_E.max())) + 1
    weights_BE = np.ones((1, len(fold.outside_label_E)), dtype=np.float32)
    scores = []
    for C in grid:
        model.set_params(C=C).fit(inside, fold.label_E)
        scores.append(confusion_scores(fold.outside_label_E, model.predict(outside), classes, weights_BE)[0][0])
    return scores


def _at_edge(f1_FG: np.ndarray, best: int) -> bool:
    """Would a longer grid matter: is the best C at an edge, and better than its neighbour by more than chance?

    By a paired t test over folds, one-sided at .05: where nothing tells the classes apart, any C may come out best.
    """
    last = f1_FG.shape[1] - 1
    if last == 0 or best not in (0, last):
        return False
    above_F = f1_FG[:, best] - f1_FG[:, 1 if best == 0 else last - 1]
    return bool(above_F.mean() > quantile(0.9, len(above_F) - 1) * above_F.std(ddof=1) / np.sqrt(len(above_F)))
