"""Scores with bootstrap intervals, all resamples at once: a metric takes one row of example weights per resample."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import scipy.sparse as sp

METRICS = ("macro_f1", "accuracy", "roc_auc", "average_precision")
LEVEL = 0.95
BINS, SMALLEST = 10, 20  # of calibration: the most bins, and how many examples one holds at least


def resample_weights(group_E: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Weights [1 + B, E]: the sample itself, then B bootstrap resamples of its groups (equal texts move together)."""
    return next(weights_in_parts(group_E, resamples, seed, max(1, resamples)))


def weights_in_parts(group_E: np.ndarray, resamples: int, seed: int, size: int) -> Iterator[np.ndarray]:
    """The same resamples, at most `size` at a time, for more of them than the memory holds.

    The sample itself is row 0 of every part; the other rows are the same whatever `size` is.
    """
    groups, index_E = np.unique(group_E, return_inverse=True)
    generator = np.random.default_rng(seed)  # draws one number after another, however many are asked for at once
    sample_E = np.ones(len(group_E), dtype=np.float32)
    for start in range(0, max(1, resamples), size):
        drawn = generator.integers(len(groups), size=(min(size, resamples - start), len(groups)))
        rows = np.repeat(np.arange(len(drawn)), len(groups))
        counts = np.zeros(drawn.shape, dtype=np.float32)
        np.add.at(counts, (rows, drawn.ravel()), 1)
        yield np.vstack([sample_E, counts[:, index_E]])


def score(label_E: np.ndarray, probability_EC: np.ndarray, weights_BE: np.ndarray) -> dict[str, float]:
    """Every metric with its 95 % percentile interval, `<metric>`, `<metric>_low`, `<metric>_high`; and calibration."""
    found = resampled(label_E, probability_EC, weights_BE)
    scores = {key: value for metric in METRICS for key, value in with_interval(metric, found[metric]).items()}
    return scores | calibration(label_E, probability_EC, weights_BE)


def resampled(label_E: np.ndarray, probability_EC: np.ndarray, weights_BE: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric [B].

    Labels are class numbers 0 … C−1. ROC AUC and average precision are of class 1 for two classes, else the mean
    over classes against the rest. Row 0 of `weights_BE` is the sample itself.
    """
    classes = probability_EC.shape[1]
    predicted_E = probability_EC.argmax(axis=1)
    f1_B, accuracy_B = confusion_scores(label_E, predicted_E, classes, weights_BE)
    chosen = [1] if classes == 2 else range(classes)
    ranked = np.array([rank_scores(label_E == c, probability_EC[:, c], weights_BE) for c in chosen])
    with np.errstate(invalid="ignore"):
        auc_B, precision_B = _mean_defined(ranked, axis=0)
    return dict(zip(METRICS, (f1_B, accuracy_B, auc_B, precision_B), strict=True))


def calibration(label_E: np.ndarray, probability_EC: np.ndarray, weights_BE: np.ndarray) -> dict[str, float]:
    """How far the probability of the predicted class is from the share of predictions that are right.

    `ece`, expected calibration error (Guo et al. 2017): the mean over examples of the distance of the two in the
    example's bin; `reliability` (Murphy 1973): of its square. Bins hold equally many examples (Nixon et al. 2019): of
    those of equal width a small test split leaves most nearly empty.

    Noise in bins is never negative, so the value lies above the truth, and resamples lie above the value: the interval
    is mirrored (the basic bootstrap), as a percentile interval need not even hold the value.
    """
    confidence_E, right_E = probability_EC.max(axis=1), probability_EC.argmax(axis=1) == label_E
    bins = int(np.clip(len(label_E) // SMALLEST, 1, BINS))
    edges = np.quantile(confidence_E, np.arange(1, bins) / bins)
    bin_E = np.searchsorted(edges, confidence_E)  # equal probabilities share a bin
    gaps = sp.csr_array((right_E - confidence_E, (bin_E, np.arange(len(label_E)))), shape=(bins, len(label_E)))
    gap_BK = (gaps @ weights_BE.T).T
    value, low, high = with_interval("ece", np.abs(gap_BK).sum(axis=1) / weights_BE.sum(axis=1)).values()
    held_K = np.maximum(1, np.bincount(bin_E, minlength=bins))
    return {
        "ece": value,
        "ece_low": float(np.clip(2 * value - high, 0, value)),
        "ece_high": float(np.clip(2 * value - low, value, 1)),
        "reliability": float((gap_BK[0] ** 2 / held_K).sum() / len(label_E)),
    }


def with_interval(name: str, values_B: np.ndarray, level: float = LEVEL) -> dict[str, float]:
    """Row 0 is the value, the others its bootstrap distribution."""
    resampled = values_B[1:][np.isfinite(values_B[1:])]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail]) if len(resampled) else (np.nan, np.nan)
    return {name: float(values_B[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def confusion_scores(
    label_E: np.ndarray, predicted_E: np.ndarray, classes: int, weights_BE: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 and accuracy, each [B].

    Macro F1 is the mean over the classes among the labels of the sample itself, row 0: a lone prediction of a class
    that the split does not hold costs the class it was taken from, and does not add a class with F1 = 0. A class that
    a resample neither holds nor predicts has no F1 there.
    """
    cells = sp.csr_array(
        (np.ones(len(label_E), np.float32), (label_E * classes + predicted_E, np.arange(len(label_E)))),
        shape=(classes * classes, len(label_E)),
    )
    counts_BCC = (cells @ weights_BE.T).T.reshape(-1, classes, classes).astype(np.float64)
    hits_BC = np.einsum("bcc->bc", counts_BCC)
    occurs_BC = counts_BCC.sum(axis=2) + counts_BCC.sum(axis=1)
    held_C = counts_BCC[0].sum(axis=1) > 0
    with np.errstate(invalid="ignore"):
        f1_BC = np.where((occurs_BC > 0) & held_C, 2 * hits_BC / occurs_BC, np.nan)
    return _mean_defined(f1_BC, axis=1), hits_BC.sum(axis=1) / counts_BCC.sum(axis=(1, 2))


def macro_f1_of(answers: pl.DataFrame, weights_BE: np.ndarray) -> np.ndarray:
    """Macro F1 [B] of predictions with the columns label and predicted."""
    names = sorted({*answers["label"], *answers["predicted"]})
    label_E, predicted_E = (
        answers[column].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
        for column in ("label", "predicted")
    )
    return confusion_scores(label_E, predicted_E, len(names), weights_BE)[0]


def rank_scores(positive_E: np.ndarray, score_E: np.ndarray, weights_BE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC and average precision, each [B], of `score_E` for the positive examples; ties count as one step."""
    order = np.argsort(-score_E, kind="stable")
    steps = np.flatnonzero(np.append(True, np.diff(score_E[order]) != 0))
    weights = weights_BE[:, order].astype(np.float64)
    positive_BS = np.add.reduceat(weights * positive_E[order], steps, axis=1)
    negative_BS = np.add.reduceat(weights * ~positive_E[order], steps, axis=1)
    hits_BS, misses_BS = positive_BS.cumsum(axis=1), negative_BS.cumsum(axis=1)
    positives_B, negatives_B = hits_BS[:, -1], misses_BS[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        below_BS = negatives_B[:, None] - misses_BS + negative_BS / 2
        auc_B = (positive_BS * below_BS).sum(axis=1) / (positives_B * negatives_B)
        precision_BS = np.nan_to_num(hits_BS / (hits_BS + misses_BS))
        average_precision_B = (positive_BS * precision_BS).sum(axis=1) / positives_B
    return auc_B, average_precision_B


def _mean_defined(values: np.ndarray, axis: int) -> np.ndarray:
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=axis) / defined.sum(axis=axis)
