"""Feature selection, the alternative to binarising: which columns a probe may use, chosen on training rows alone."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.svm import l1_min_c

from tessera.study.grid import parse_selection

L1_STEP, L1_STEPS = 10**0.125, 64  # C rises by a third a step, from where all weights are 0 to 10⁸ times that


@dataclass
class Selected:
    """The columns [K] chosen on the training rows outside each fold, and on all training rows."""

    folds: list[np.ndarray]
    whole: np.ndarray


def select(
    train_EK, folds: Iterable, label_E: np.ndarray, selections: list[str], scale_K: np.ndarray | None = None
) -> dict[str, Selected | None]:
    """Columns of every selection (`none`, or method-k); a fold's are of its own matrix, chosen on what it fits on.

    A method ranks all columns once, so that a smaller k keeps a subset of a larger one's.

    Args:
        train_EK: the training rows of the matrix that the probe sees, CSR or dense.
        folds: those of `fit.Fold`.
        label_E: class numbers.
        scale_K: what the columns of the matrix were divided by.
    """
    wanted = {selection: parse_selection(selection) for selection in selections}
    most: dict[str, int] = {}
    for method, k in wanted.values():
        if method != "none":
            most[method] = max(k, most.get(method, 0))
    orders: dict[str, list[np.ndarray]] = {method: [] for method in most}
    for fold in folds if most else ():
        for method, k in most.items():
            orders[method].append(order(method, fold.inside_EK, fold.label_E, k, fold.scale_K))
    for method, k in most.items():
        orders[method].append(order(method, train_EK, label_E, k, scale_K))
    chosen: dict[str, Selected | None] = {}
    for selection, (method, k) in wanted.items():
        columns = [np.sort(order[:k]) for order in orders.get(method, [])]
        chosen[selection] = Selected(columns[:-1], columns[-1]) if columns else None
    return chosen


def order(method: str, train_EK, label_E: np.ndarray, k: int, scale_K: np.ndarray | None) -> np.ndarray:
    """Columns, best first; the difference of means is that of the pooled values, before they were scaled."""
    if method == "difference" and scale_K is not None:
        train_EK = sp.csr_array(train_EK.multiply(scale_K)) if sp.issparse(train_EK) else train_EK * scale_K
    return METHODS[method](train_EK, label_E, k)


def _against_rest(score: Callable) -> Callable:
    """Ranks columns by the largest |score| of a class against the rest."""

    def order(train_EK, label_E: np.ndarray, k: int) -> np.ndarray:
        return _descending(np.max([np.abs(score(train_EK, label_E == label)) for label in _contrasts(label_E)], axis=0))

    return order


def _contrasts(label_E: np.ndarray) -> np.ndarray:
    """The classes to set against the rest: one of two, or each of several."""
    labels = np.unique(label_E)
    return labels[1:] if len(labels) == 2 else labels


def _descending(score_K: np.ndarray) -> np.ndarray:
    return np.argsort(-score_K, kind="stable")


def _difference(train_EK, positive_E: np.ndarray) -> np.ndarray:
    """Mean of a class minus mean of the rest."""
    return _mean(train_EK[positive_E]) - _mean(train_EK[~positive_E])


def _relative(train_EK, positive_E: np.ndarray) -> np.ndarray:
    """The same, in units of the column's mean magnitude where it is not 0: at any scale of a column alike.

    As sae-probes ranks latents (`mean_act_normalization` of its run_sae_evals.py, 0.4.2).
    """
    active_K = _mean(train_EK != 0)
    size_K = np.divide(_mean(abs(train_EK)), active_K, out=np.ones_like(active_K), where=active_K > 0)
    return _difference(train_EK, positive_E) / size_K


def _correlation(train_EK, positive_E: np.ndarray) -> np.ndarray:
    """Pearson correlation with membership of the class; 0 for a constant column."""
    share = positive_E.mean()
    deviation_K = np.sqrt(np.maximum(_mean(train_EK**2) - _mean(train_EK) ** 2, 0))
    covariance_K = _difference(train_EK, positive_E) * share * (1 - share)
    scale_K = deviation_K * np.sqrt(share * (1 - share))
    return np.divide(covariance_K, scale_K, out=np.zeros_like(covariance_K), where=scale_K > 1e-12)


def _mean(features_EK) -> np.ndarray:
    return np.asarray(features_EK.mean(axis=0, dtype=np.float64)).ravel()


def _flat(row_K) -> np.ndarray:
    return (row_K.toarray() if sp.issparse(row_K) else np.asarray(row_K)).ravel()


def _anova(train_EK, label_E: np.ndarray, k: int) -> np.ndarray:
    """Ranks by the F statistic of a one-way analysis of variance; constant columns come last."""
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of constant columns
        f_K, _ = f_classif(train_EK.astype(np.float64), label_E)
    low_K, high_K = (_flat(end(axis=0)) for end in (train_EK.min, train_EK.max))
    f_K = np.where(low_K == high_K, -1.0, np.where(f_K < 0, np.inf, f_K))  # negative: no variance within, but rounding
    return _descending(np.nan_to_num(f_K, nan=-1.0, posinf=np.finfo(np.float64).max))


def _l1(train_EK, label_E: np.ndarray, k: int) -> np.ndarray:
    """Ranks by the order in which columns enter as the L1 penalty of a logistic regression falls, to `k` at least.

    Columns that enter at the same step: the larger weight first. Those that never enter are not there, but one is: a
    probe needs a column.
    """
    rank_K = np.full(train_EK.shape[1], np.inf)
    for label in _contrasts(label_E):
        positive_E = label_E == label
        try:
            lowest = l1_min_c(train_EK, positive_E, loss="log")
        except ValueError:  # no column tells anything: none enters
            continue
        model = LogisticRegression(
            l1_ratio=1, solver="liblinear", class_weight="balanced", tol=1e-3, max_iter=1000, random_state=0
        )
        entered_K = np.full(train_EK.shape[1], np.inf)
        for step in range(L1_STEPS):
            weight_K = np.abs(model.set_params(C=lowest * L1_STEP**step).fit(train_EK, positive_E).coef_[0])
            new = (weight_K > 0) & np.isinf(entered_K)
            entered_K[new] = step - weight_K[new] / (weight_K[new].max(initial=0) + 1)
            if np.isfinite(entered_K).sum() >= k:
                break
        rank_K = np.minimum(rank_K, entered_K)
    order = np.argsort(rank_K, kind="stable")
    return order[: max(1, np.isfinite(rank_K).sum())]


METHODS = {
    "difference": _against_rest(_difference),
    "relative": _against_rest(_relative),
    "correlation": _against_rest(_correlation),
    "anova": _anova,
    "l1": _l1,
}
