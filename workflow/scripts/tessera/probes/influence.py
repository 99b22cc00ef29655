"""Scores with their influence values: what each example adds to the score, to first order.

The variance of a score over test examples, and of any sum of scores on the same examples, is the sum of the squared
influence values (infinitesimal jackknife: Efron 1982; of macro F1: Takahashi et al. 2022,
doi 10.1007/s10489-021-02635-5). So a difference of any number of cells, repeats and draws has a first-order variance
without a single resample, however small its level.
"""

import numpy as np
import polars as pl


def macro_f1(label_E: np.ndarray, predicted_E: np.ndarray) -> tuple[float, np.ndarray]:
    """Macro F1 over the classes among the labels (as `metrics.confusion_scores`), and its influence values [E]."""
    f1, influence_E = [], np.zeros(len(label_E))
    for name in np.unique(label_E):
        is_E, said_E = label_E == name, predicted_E == name
        both, either = (is_E & said_E).mean(), is_E.mean() + said_E.mean()
        f1.append(2 * both / either)
        influence_E += (2 * (is_E & said_E) - f1[-1] * (is_E.astype(float) + said_E)) / either
    return float(np.mean(f1)), influence_E / len(f1) / len(label_E)


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
