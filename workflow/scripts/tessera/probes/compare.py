"""Two cells on the same test examples: by how much they differ, whether that is chance, and where.

In one repeat: accuracy by McNemar's exact test, ROC AUC as DeLong et al. (1988) do, the rest by a paired bootstrap.
Those speak of two fits. Over all repeats, where there are several: the paired bootstrap with one weight per group of
examples, whichever repeats test it, and what training sets add (`verdicts`). That speaks of the method.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import polars as pl
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from tessera.base.errors import TesseraError
from tessera.probes.influence import roc_auc, summed
from tessera.probes.metrics import LEVEL, METRICS, resampled, weights_in_parts, with_interval
from tessera.probes.verdicts import NORMAL, Effect, Part, decide, of_training

TAIL = 30  # resamples beyond either end of an interval, at least
PART = 2_000_000  # weights of resamples in memory at once
AT = ["repeat", "split", "example"]


@dataclass
class Pair:
    """Both cells on the test examples of one split in one repeat: labels, groups, and class probabilities."""

    label_E: np.ndarray
    group_E: np.ndarray
    left_EC: np.ndarray
    right_EC: np.ndarray

    def differences(self, weights_BE: np.ndarray) -> dict[str, np.ndarray]:
        """Left minus right [B] in every metric."""
        left, right = (resampled(self.label_E, told_EC, weights_BE) for told_EC in (self.left_EC, self.right_EC))
        return {metric: left[metric] - right[metric] for metric in METRICS}

    def differ(self, metric: str) -> np.ndarray:
        """The groups on which the sides are not the same to a metric."""
        if metric in ("accuracy", "macro_f1"):
            return self.group_E[self.left_EC.argmax(axis=1) != self.right_EC.argmax(axis=1)]
        return self.group_E[(self.left_EC != self.right_EC).any(axis=1)]


def differences(
    left: pl.DataFrame, right: pl.DataFrame, classes: list[str], *, resamples: int, seed: int, level: float = LEVEL
) -> pl.DataFrame:
    """A row per split, repeat and metric; without a repeat: over all of them.

    Args:
        left: the predictions of a cell; right: of another, on the same examples.
        classes: the labels in the order of the predictions' probabilities.
        resamples: as many at least; TAIL in each tail at any level.
    """
    both = _joined(left, right)
    settings = {"resamples": max(resamples, ceil(2 * TAIL / (1 - level))), "seed": seed}
    rows = []
    for (split,), part in both.group_by("split", maintain_order=True):
        pairs = {repeat: _pair(some, classes) for (repeat,), some in part.group_by("repeat", maintain_order=True)}
        for repeat, pair in pairs.items():
            rows += [{"split": split, "repeat": repeat} | row for row in _of_one(pair, level, **settings)]
        if len(pairs) > 1:
            rows += [{"split": split, "repeat": None} | row for row in _of_all([*pairs.values()], level, **settings)]
    return pl.DataFrame(rows, infer_schema_length=None)


def disagreements(left: pl.DataFrame, right: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """The test examples, in each repeat, to which the two cells give different labels; with their texts."""
    both = _joined(left, right).filter(pl.col("predicted") != pl.col("predicted_right"))
    return both.join(examples.select("example", "text"), on="example", how="left", maintain_order="left").select(
        *AT,
        "id",
        "text",
        "label",
        left_predicted="predicted",
        left_probability=pl.col("probability").list.max(),
        right_predicted="predicted_right",
        right_probability=pl.col("probability_right").list.max(),
    )


def _joined(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    both = left.join(right, on=AT, suffix="_right", maintain_order="left")
    if not len(both) == len(left) == len(right):
        raise TesseraError(
            f"the two cells are not of the same test examples: {len(left)} and {len(right)}, {len(both)} of them "
            "common; compute both anew"
        )
    return both


def _pair(both: pl.DataFrame, classes: list[str]) -> Pair:
    label_E = both["label"].replace_strict(classes, range(len(classes)), return_dtype=pl.Int64).to_numpy()
    told = (np.array(both[column].to_list()) for column in ("probability", "probability_right"))
    return Pair(label_E, both["group"].to_numpy(), *told)


def _of_one(pair: Pair, level: float, **settings: int) -> Iterator[dict]:
    """A row per metric, of one repeat."""
    values = _bootstrap([pair], **settings)
    exact = {"accuracy": mcnemar_exact, "roc_auc": delong}
    for metric, place in _places([pair]):
        values_B = values[metric][:, 0]
        found = exact[metric](pair, level) if metric in exact else None
        found = found or with_interval("difference", values_B, level) | {"p": _p(values_B), "test": "bootstrap"}
        sides = found["difference_low"] > 0, found["difference_high"] < 0
        verdict = "holds" if sides[0] else "fails" if sides[1] else "undecided"
        place |= {"difference": float(values_B[0])} | {key: found[key] for key in ("difference_low", "difference_high")}
        yield place | {"verdict": verdict, "p": found["p"], "test": found["test"], "level": level, "agree": None}


def _of_all(pairs: list[Pair], level: float, **settings: int) -> Iterator[dict]:
    """A row per metric, over all repeats."""
    values = _bootstrap(pairs, **settings)
    for metric, place in _places(pairs):
        difference_R, noise_BR = values[metric][0], values[metric][1:]
        noise_BR = noise_BR[np.isfinite(noise_BR).all(axis=1)]
        deviation_RB = (noise_BR - noise_BR.mean(axis=0)).T / np.sqrt(max(1, len(noise_BR) - 1))
        differ = len(np.unique(np.concatenate([pair.differ(metric) for pair in pairs])))
        tests = Part(float((deviation_RB.mean(axis=0) ** 2).sum()), max(1, differ))
        alone = [
            Effect(float(difference), [Part(float((deviation_B**2).sum()), max(1, differ))])
            for difference, deviation_B in zip(difference_R, deviation_RB, strict=True)
        ]
        effect = Effect(float(difference_R.mean()), [tests, of_training(difference_R, deviation_RB)], alone)
        found = decide(effect, level) | {"p": effect.p, "test": "bootstrap and training sets", "level": level}
        yield place | found | {"agree": effect.agree(found["verdict"])}


def _places(pairs: list[Pair]) -> Iterator[tuple[str, dict]]:
    """Each metric, and the first columns of its row: how many groups are tested, and the score of either side."""
    groups = len(np.unique(np.concatenate([pair.group_E for pair in pairs])))
    scores = [
        {metric: value_B[0] for metric, value_B in resampled(pair.label_E, told, np.ones((1, len(told)))).items()}
        for pair in pairs
        for told in (pair.left_EC, pair.right_EC)
    ]
    for metric in METRICS:
        left, right = (float(np.mean([score[metric] for score in scores[side::2]])) for side in (0, 1))
        yield metric, {"metric": metric, "groups": groups, "left": left, "right": right}


def _bootstrap(pairs: list[Pair], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Per metric the differences [1 + B, R] of the pairs, one weight per group for all of them; row 0: the samples."""
    groups = np.unique(np.concatenate([pair.group_E for pair in pairs]))
    places = [np.searchsorted(groups, pair.group_E) for pair in pairs]
    size = max(1, PART // sum(map(len, places)))
    found = {metric: [] for metric in METRICS}
    for part, weights_BG in enumerate(weights_in_parts(np.arange(len(groups)), resamples, seed, size)):
        each = [pair.differences(weights_BG[:, place_E]) for pair, place_E in zip(pairs, places, strict=True)]
        for metric, values in found.items():
            values.append(np.stack([one[metric] for one in each], axis=1)[part > 0 :])
    return {metric: np.concatenate(values) for metric, values in found.items()}


def _p(values_B: np.ndarray) -> float:
    """Two-sided p of no difference: twice the smaller share of resamples on either side of it."""
    found = values_B[1:][np.isfinite(values_B[1:])]
    return min(1.0, 2 * (1 + min((found <= 0).sum(), (found >= 0).sum())) / (1 + len(found)))


def mcnemar_exact(pair: Pair, level: float) -> dict | None:
    """Accuracy by McNemar's exact test of the groups that one side alone tells right; None where a group counts twice.

    The interval is the exact one (Clopper and Pearson) of the left side's share of those groups, so it leaves zero out
    where the test does.
    """
    right_SE = [told_EC.argmax(axis=1) == pair.label_E for told_EC in (pair.left_EC, pair.right_EC)]
    _, group_E = np.unique(pair.group_E, return_inverse=True)
    gain_G = np.bincount(group_E, weights=right_SE[0].astype(float) - right_SE[1])
    if np.abs(gain_G).max() > 1:
        return None
    left, right = int((gain_G > 0).sum()), int((gain_G < 0).sum())
    some = left + right
    ends = proportion_confint(left, some, alpha=1 - level, method="beta") if some else (0.5, 0.5)
    low, high = ((2 * share - 1) * some / len(pair.label_E) for share in ends)
    p = float(mcnemar([[0, left], [right, 0]], exact=True).pvalue) if some else 1.0
    return {"difference_low": low, "difference_high": high, "p": p, "test": "McNemar, exact"}


def delong(pair: Pair, level: float) -> dict:
    """ROC AUC by DeLong's variance of the paired difference; of several classes, of the mean of one against the rest.

    What an example adds, summed over its group (Obuchowski 1997).
    """
    (left, left_E), (right, right_E) = (roc_auc(pair.label_E, told_EC) for told_EC in (pair.left_EC, pair.right_EC))
    _, group_E = np.unique(pair.group_E, return_inverse=True)
    added_G = summed(left_E - right_E, group_E, group_E.max() + 1)
    effect = Effect(left - right, [Part(float((added_G**2).sum()), NORMAL)])
    low, high = effect.interval(level)
    return {"difference_low": low, "difference_high": high, "p": effect.p, "test": "DeLong"}
