"""Every latent that fires on a data set: where, how strongly, how well it tells a class, what it adds to the decision.

Shards and features are read a row group at a time, and columns compared in blocks, so that memory does not grow with
the number of texts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.evidence.decision import Decision, gaps
from tessera.evidence.ranking import roc_auc
from tessera.features.pooling import feature_groups, token_groups
from tessera.probes.metrics import LEVEL
from tessera.probes.task import Task
from tessera.probes.verdicts import UNSEEN, quantile

AUC = ("roc_auc", "roc_auc_low", "roc_auc_high")
ENTRIES = 2_000_000  # activations of texts whose ranks are taken at once


@dataclass
class Firing:
    """Where latents fire on some rows of a data set, per latent and class.

    texts_WC: texts with a token that fires it. tokens_WC: such tokens. sum_WC, largest_WC: of their activations.
    of_C, tokens_C: all texts, and their tokens.
    """

    texts_WC: np.ndarray
    tokens_WC: np.ndarray
    sum_WC: np.ndarray
    largest_WC: np.ndarray
    of_C: np.ndarray
    tokens_C: np.ndarray


def firing(shards: list[Path], label_E: np.ndarray, chosen_E: np.ndarray, classes: int, width: int) -> Firing:
    """Read where latents fire off the token-level shards; rows of a data set that are not chosen are left out.

    A latent fires where its activation is not zero, on a token that is pooled.
    """
    size = width * classes
    texts, tokens, total, largest = (np.zeros(size) for _ in range(4))
    tokens_C = np.zeros(classes)
    for example_N, _, offsets_N, latents, values in token_groups(shards):
        starts_E = np.flatnonzero(np.append(True, example_N[1:] != example_N[:-1]))
        label_N, chosen_N = label_E[example_N], chosen_E[example_N]
        tokens_C += np.bincount(label_N[chosen_N], minlength=classes)
        counts_N = np.diff(offsets_N)
        kept = np.repeat(chosen_N, counts_N)
        place = (latents.astype(np.int64) * classes + np.repeat(label_N, counts_N))[kept]
        values = values[kept]
        tokens += np.bincount(place, minlength=size)
        total += np.bincount(place, weights=values, minlength=size)
        np.maximum.at(largest, place, values)
        ones, offsets_E = np.ones(len(latents), dtype=np.int8), offsets_N[np.append(starts_E, len(example_N))]
        once = sp.csr_array((ones, latents.astype(np.int32), offsets_E), shape=(len(starts_E), width))
        once.sum_duplicates()
        examples_E = example_N[starts_E]
        fired = np.repeat(examples_E, np.diff(once.indptr))
        kept = chosen_E[fired]
        texts += np.bincount((once.indices.astype(np.int64) * classes + label_E[fired])[kept], minlength=size)
    of_C = np.bincount(label_E[chosen_E], minlength=classes).astype(float)
    return Firing(*(one.reshape(width, classes) for one in (texts, tokens, total, largest)), of_C, tokens_C)


@dataclass
class Seen:
    """What the probe sees of each latent on some rows.

    total_WC: sum of its values in each class. size_W: of their sizes. rows_W: rows other than zero. of_C: rows of each
    class.
    """

    total_WC: np.ndarray
    size_W: np.ndarray
    rows_W: np.ndarray
    of_C: np.ndarray


def seen(features: Path, decision: Decision, label_E: np.ndarray, chosen_E: np.ndarray, width: int) -> Seen:
    """Add up, over the chosen rows, what the probe of a decision sees of pooled features."""
    classes = len(decision.classes)
    total_WC, size_W, rows_W = np.zeros((width, classes)), np.zeros(width), np.zeros(width)
    for example_E, part_EW in feature_groups(features, width):
        kept_E = chosen_E[example_E]
        part_EW, label = part_EW[kept_E], label_E[example_E[kept_E]]
        rows_W += np.bincount(part_EW.indices, minlength=width)
        matrix_EK = decision.matrix(part_EW).astype(np.float64)
        for number in np.unique(label):
            total_WC[decision.latents_K, number] += matrix_EK[label == number].sum(axis=0)
        size_W[decision.latents_K] += abs(matrix_EK).sum(axis=0)
    return Seen(total_WC, size_W, rows_W, np.bincount(label_E[chosen_E], minlength=classes))


@dataclass
class Contributions:
    """What each latent adds to the decision for each class, over the rows seen.

    mean_CW, size_CW: mean, and mean of its size. gap_CW: mean on rows of the class, less that on all others: what it
    adds to telling the class. weights_CW: of the probe.
    """

    mean_CW: np.ndarray
    size_CW: np.ndarray
    gap_CW: np.ndarray
    weights_CW: np.ndarray


def contributions(decision: Decision, seen: Seen, width: int) -> Contributions:
    """Weight × value, of what the probe sees."""
    weights_CW = np.zeros((len(decision.classes), width))
    weights_CW[:, decision.latents_K] = decision.weights_CK
    rows, total_CW = max(1, seen.of_C.sum()), seen.total_WC.T
    return Contributions(
        mean_CW=weights_CW * total_CW.sum(axis=0) / rows,
        size_CW=np.abs(weights_CW) * seen.size_W / rows,
        gap_CW=gaps(weights_CW, total_CW, seen.of_C),
        weights_CW=weights_CW,
    )


def latent_table(task: Task, decision: Decision, shards: list[Path], features: Path, width: int) -> pl.DataFrame:
    """A row per class and latent that fires on the test split, ranked in four ways."""
    test_E = task.split_E == "test"
    fired = firing(shards, task.label_E, test_E, len(task.classes), width)
    seen_test = seen(features, decision, task.label_E, test_E, width)
    added = contributions(decision, seen_test, width)
    fires_W = np.flatnonzero((fired.texts_WC.sum(axis=1) > 0) | (seen_test.rows_W > 0))
    auc_CW, error_CW = _aucs(features, task, test_E, seen_test.rows_W.astype(np.int64))
    parts = []
    for number, name in enumerate(task.classes):
        auc_W, error_W = auc_CW[number, fires_W], error_CW[number, fires_W]
        half_W = quantile(LEVEL, np.inf) * error_W
        frame = {
            "class": pl.Series([name] * len(fires_W), dtype=pl.String),
            "latent": fires_W.astype(np.int64),
            **_shares(fired, fires_W, number),
            "roc_auc": auc_W,
            "roc_auc_low": np.clip(auc_W - half_W, 0, 1),
            "roc_auc_high": np.clip(auc_W + half_W, 0, 1),
            "weight": added.weights_CW[number, fires_W],
            "contribution": added.mean_CW[number, fires_W],
            "absolute_contribution": added.size_CW[number, fires_W],
            "contribution_gap": added.gap_CW[number, fires_W],
            "rank_roc_auc": _rank(np.abs(auc_W - 0.5)),
            "rank_contribution": _rank(added.mean_CW[number, fires_W]),
            "rank_absolute_contribution": _rank(added.size_CW[number, fires_W]),
            "rank_contribution_gap": _rank(added.gap_CW[number, fires_W]),
        }
        parts.append(pl.DataFrame(frame))
    cell = [pl.lit(value).alias(axis) for axis, value in decision.cell.items()]
    missing = pl.col("roc_auc").is_nan()  # of a class that the test split lacks
    ranked = [pl.when(~missing).then(name).alias(name) for name in ("rank_roc_auc", *AUC)]
    return pl.concat(parts).with_columns(ranked).with_columns(cell)


def _shares(fired: Firing, fires_W: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Shares of texts and tokens of one class, and of the others, and activations on the tokens of the class."""

    def share(part_WC: np.ndarray, whole_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_class = part_WC[fires_W, number]
        rest = part_WC[fires_W].sum(axis=1) - of_class
        return of_class / max(1, whole_C[number]), rest / max(1, whole_C.sum() - whole_C[number])

    texts, other_texts = share(fired.texts_WC, fired.of_C)
    tokens, other_tokens = share(fired.tokens_WC, fired.tokens_C)
    number_W = fired.tokens_WC[fires_W, number]
    return {
        "firing_texts": texts,
        "firing_texts_others": other_texts,
        "firing_tokens": tokens,
        "firing_tokens_others": other_tokens,
        "mean_activation": fired.sum_WC[fires_W, number] / np.maximum(1, number_W),
        "largest_activation": fired.largest_WC[fires_W, number],
    }


def _rank(score_W: np.ndarray) -> np.ndarray:
    """1 for the largest; of equals the lower latent first."""
    rank_W = np.empty(len(score_W), dtype=np.int64)
    rank_W[np.argsort(-np.nan_to_num(score_W, nan=-np.inf), kind="stable")] = np.arange(1, len(score_W) + 1)
    return rank_W


def _aucs(features: Path, task: Task, chosen_E: np.ndarray, rows_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC [C, W] of each latent's pooled value for each class on the chosen rows, and its standard error.

    A latent that is zero on all of them has an AUC of .5.
    """
    number_E = np.cumsum(chosen_E) - 1
    label_E, group_E = task.label_E[chosen_E], task.examples["group"].to_numpy()[chosen_E]
    group_E = np.unique(group_E, return_inverse=True)[1]
    classes, width = len(task.classes), len(rows_W)
    auc_CW, variance_CW = np.full((classes, width), 0.5), np.zeros((classes, width))
    block_W = np.cumsum(rows_W) // ENTRIES
    for block in np.unique(block_W[rows_W > 0]):
        here_W = np.flatnonzero((block_W == block) & (rows_W > 0))
        column_W = np.full(width, -1)
        column_W[here_W] = np.arange(len(here_W))
        entries = [_entries(*group, chosen_E, number_E, column_W) for group in feature_groups(features, width)]
        column, row, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
        for number in range(classes):
            found = roc_auc(column, row, value, len(here_W), label_E == number, group_E)
            auc_CW[number, here_W], variance_CW[number, here_W] = found
    sizes_C = np.bincount(label_E, minlength=classes)
    smaller_C = np.maximum(1, np.minimum(sizes_C, len(label_E) - sizes_C))
    error_CW = np.sqrt(np.maximum(variance_CW, 0))
    perfect_CW = (error_CW < 1e-6) & (np.abs(auc_CW - 0.5) > 0.5 - 1e-9)
    return auc_CW, np.where(perfect_CW, UNSEEN / smaller_C[:, None], error_CW)


def _entries(
    example_E: np.ndarray, part_EW: sp.csr_array, chosen_E: np.ndarray, number_E: np.ndarray, column_W: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and value of a row group's entries at the columns of a block."""
    example = np.repeat(example_E, np.diff(part_EW.indptr))
    kept = chosen_E[example] & (column_W[part_EW.indices] >= 0)
    return column_W[part_EW.indices[kept]], number_E[example[kept]], part_EW.data[kept]
