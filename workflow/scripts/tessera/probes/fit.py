"""The one probe: thresholding, choice of C inside the training split, fit, and a single look at the test splits."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tessera.probes.metrics import confusion_scores
from tessera.probes.selection import Selected


@dataclass
class Probe:
    """A fitted L2 logistic regression: decision = features · weights_CKᵀ + intercept_C (one row for two classes).

    columns_K: the columns of the features that it uses, where they were selected.
    """

    classes: list[str]
    weights_CK: np.ndarray
    intercept_C: np.ndarray
    C: float
    cv_macro_f1: float
    converged: bool
    columns_K: np.ndarray | None = None

    def probabilities(self, features_EK) -> np.ndarray:
        """Class probabilities [E, C]."""
        features_EK = columns_of(features_EK, self.columns_K)
        decision = np.asarray(features_EK @ self.weights_CK.T) + self.intercept_C
        if len(self.classes) == 2:
            decision = np.hstack([np.zeros_like(decision), decision])
        decision -= decision.max(axis=1, keepdims=True)
        return np.exp(decision) / np.exp(decision).sum(axis=1, keepdims=True)


def columns_of(features_EK, columns_K: np.ndarray | None):
    return features_EK if columns_K is None else features_EK[:, columns_K]


def fit_probe(
    train_EK,
    label_E: np.ndarray,
    fold_E: np.ndarray,
    names: list[str],
    grid: list[float],
    selected: Selected | None = None,
) -> Probe:
    """Choose C by macro F1 over the folds inside the training split (the smaller of equals), then refit on all of it.

    What is fitted without labels (vocabulary, scale, quantile) is fitted on the whole training split, before the folds.

    Args:
        train_EK: training features, CSR or dense float32.
        label_E: class numbers into `names`.
        fold_E: fold number of each training example.
        grid: values of C.
        selected: the columns to use, where not all; a fold's were chosen without it.
    """
    with threadpool_limits(1):
        grid = sorted(grid)
        folds = np.unique(fold_E)
        columns_F = selected.folds if selected else [None] * len(folds)
        f1_FG = np.array(
            [
                _fold_scores(columns_of(train_EK, columns), label_E, fold_E == fold, grid)
                for fold, columns in zip(folds, columns_F, strict=True)
            ]
        )
        best = int(f1_FG.mean(axis=0).argmax())
        model = _logistic(grid[best], tol=1e-6)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(columns_of(train_EK, selected and selected.whole).astype(np.float64), label_E)
    return Probe(
        classes=names,
        weights_CK=model.coef_,
        intercept_C=model.intercept_,
        C=grid[best],
        cv_macro_f1=float(f1_FG.mean(axis=0)[best]),
        converged=not any(issubclass(warning.category, ConvergenceWarning) for warning in caught),
        columns_K=selected and selected.whole,
    )


def _logistic(C: float, tol: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=C, class_weight="balanced", tol=tol, max_iter=5000, warm_start=warm_start)


def _fold_scores(train_EK, label_E: np.ndarray, held_out_E: np.ndarray, grid: list[float]) -> list[float]:
    """Macro F1 on one held-out fold for ascending C, each fit starting from the last (3 × GridSearchCV's speed)."""
    inside, outside = train_EK[~held_out_E], train_EK[held_out_E]
    model = _logistic(grid[0], tol=1e-3, warm_start=True)
    classes, weights_BE = int(label_E.max()) + 1, np.ones((1, held_out_E.sum()), dtype=np.float32)
    scores = []
    for C in grid:
        model.set_params(C=C).fit(inside, label_E[~held_out_E])
        macro_f1, _ = confusion_scores(label_E[held_out_E], model.predict(outside), classes, weights_BE)
        scores.append(macro_f1[0])
    return scores
