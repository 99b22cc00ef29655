"""Scores with their influence values: what each example adds to the score, to first order.

The variance of a score over test examples, and of any sum of scores on the same examples, is the sum of the squared
influence values (infinitesimal jackknife: Efron 1982; of macro F1: Takahashi et al. 2022,
doi 10.1007/s10489-021-02635-5). So a difference of any number of cells, repeats and draws has a first-order variance
without a single resample, however small its level.
"""

import numpy as np
import polars as pl


def f1(is_E: np.ndarray, said_E: np.ndarray) -> tuple[float, np.ndarray]:
    """F1 of one class, and its influence values [E]: who is of it, and who is said to be."""
    both, either = (is_E & said_E).mean(), is_E.mean() + said_E.mean()
    value = 2 * both / either if either else 0.0
    influence_E = (2 * (is_E & said_E) - value * (is_E.astype(float) + said_E)) / (either or 1.0)
    return value, influence_E / len(is_E)


def macro_f1(label_E: np.ndarray, predicted_E: np.ndarray) -> tuple[float, np.ndarray]:
    """Macro F1 over the classes among the labels (as `metrics.confusion_scores`), and its influence values [E]."""
    found = [f1(label_E == name, predicted_E == name) for name in np.unique(label_E)]
    return float(np.mean([value for value, _ in found])), np.mean([influence_E for _, influence_E in found], axis=0)


def roc_auc(label_E: np.ndarray, probability_EC: np.ndarray) -> tuple[float, np.ndarray]:
    """ROC AUC (as `metrics.resampled`: of several classes, the mean of one against the rest), and its influence [E].

    An example adds the share of those of the other side that it stands on the right side of, scaled so that the sum of
    squares is the variance of DeLong et al. (1988).
    """
    from scipy.stats import rankdata  # heavy, and only matches ask

    classes = probability_EC.shape[1]
    found, influence_E = [], np.zeros(len(label_E))
    for name in [1] if classes == 2 else range(classes):
        is_E, rank_E = label_E == name, rankdata(probability_EC[:, name])
        many, others = is_E.sum(), (~is_E).sum()
        if not many or not others:
            continue
        above = (rank_E[is_E] - rankdata(probability_EC[is_E, name])) / others
        below = 1 - (rank_E[~is_E] - rankdata(probability_EC[~is_E, name])) / many
        found.append(above.mean())
        for side_E, share, size in ((is_E, above, many), (~is_E, below, others)):
            influence_E[side_E] += (share - found[-1]) / np.sqrt(size * max(1, size - 1))
    return (float(np.mean(found)), influence_E / len(found)) if found else (np.nan, influence_E)


def chance_macro_f1(label_E: np.ndarray, predicted_E: np.ndarray) -> tuple[float, np.ndarray]:
    """Macro F1 that predictions of the same frequencies would have if they knew nothing of the labels.

    The expected confusion matrix of independent labels and predictions is the product of their frequencies; a class
    with shares p of the labels and q of the predictions has F1 = 2pq / (p + q).
    """
    f1, influence_E = [], np.zeros(len(label_E))
    for name in np.unique(label_E):
        is_E, said_E = label_E == name, predicted_E == name
        p, q = is_E.mean(), said_E.mean()
        f1.append(2 * p * q / (p + q))
        influence_E += 2 * (q**2 * (is_E - p) + p**2 * (said_E - q)) / (p + q) ** 2
    return float(np.mean(f1)), influence_E / len(f1) / len(label_E)


def summed(influence_E: np.ndarray, group_E: pl.Series | np.ndarray, groups: int) -> np.ndarray:
    """Influence values [G] of groups, which move together: the sum over their examples."""
    return np.bincount(np.asarray(group_E), weights=influence_E, minlength=groups)
