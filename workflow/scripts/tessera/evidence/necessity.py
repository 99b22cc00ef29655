"""Does the model itself use the latents? What probes of its later layers lose where latents are taken out of it.

Whatever is taken out of the residual stream is missing in all later layers too, read or not: the stream carries it on.
So every probe is fitted twice, on hidden states as they are (`whole`) and on what is left of them beside the directions
that were taken out (`computed`): what later layers made of the latents lies there, their mere copy does not.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from tessera.evidence.choice import ALL, NOTHING, PROBE, RANDOM
from tessera.evidence.sufficiency import DIFFERENCE, Scores, difference
from tessera.features.spaces import Standardised
from tessera.probes.fit import Folds, fit_at, fit_probe
from tessera.probes.fitted import Probe
from tessera.probes.influence import f1, macro_f1, roc_auc
from tessera.probes.metrics import LEVEL
from tessera.probes.task import Task
from tessera.probes.verdicts import Scored, contrast

WHOLE, COMPUTED = "whole", "computed"
METRICS = ("macro_f1", "roc_auc")  # the former falls where a decision is shifted too, the latter only where it is lost
DROP = {
    **dict.fromkeys(("before", "after", "drop", "drop_low", "drop_high"), pl.Float64),
    **dict.fromkeys(("draws", "examples"), pl.Int64),
}
SCHEMA = {
    "kind": pl.String,
    "class": pl.String,
    "latents": pl.Int64,
    "at_layer": pl.Int64,
    "states": pl.String,
    "of": pl.String,
    "metric": pl.String,
    **DROP,
}


def necessity(
    task: Task,
    sets: pl.DataFrame,
    spans: dict[int, np.ndarray],
    layers: list[int],
    states: Callable[[int, int], np.ndarray],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What probes of later layers lose on the test split, per set that was taken out, layer and class.

    drops: a row per kind of set (and class whose latents it has; random draws together), layer, states, metric and
    `of`, the class that is measured (null: the mean over classes). differences: how much more is lost by the latents of
    the probe than by random ones, in what the last layer computed, by either metric.

    Args:
        sets: as `choice.choose_sets` left them.
        spans: number of a set → orthonormal rows that span what it takes out.
        states: (number of a set, layer) → pooled hidden states [E, d], rows as the task's; those of a set other than
            `nothing` are read on test rows alone.
    """
    numbers = {name: index for index, name in enumerate(sets["set"])}
    asked = sets.with_row_index("number").filter(pl.col("kind") != NOTHING)
    scores, rows, last, examples = Scores([task]), [], {}, int((task.split_E == "test").sum())
    for layer in layers:
        plain_ED = states(numbers[NOTHING], layer)
        probe, space = fit_states(task, plain_ED)
        found: dict[tuple, list] = {}
        for one in asked.iter_rows(named=True):
            span_ND, taken_ED = spans.get(one["number"]), states(one["number"], layer)
            told = {WHOLE: _told(task, plain_ED, taken_ED, probe, space)}
            if one["kind"] != ALL and span_ND is not None and len(span_ND) < plain_ED.shape[1]:
                told[COMPUTED] = _beside(task, plain_ED, taken_ED, span_ND, probe.C)
            for measure, pair in told.items():
                found.setdefault((one["kind"], one["class"], measure), []).append((one, pair))
        for (kind, name, measure), draws in found.items():
            latents, sides = draws[0][0]["latents"], [*zip(*(pair for _, pair in draws), strict=True)]
            about = {"kind": kind, "class": name, "latents": None if latents is None else len(latents)}
            about |= {"at_layer": layer, "states": measure}
            for metric in METRICS:
                for of, number in zip([None, *task.classes], [None, *range(len(task.classes))], strict=True):
                    score = partial(score_of, number, metric)
                    before, after = (scores.scored([[told] for told in side], score) for side in sides)
                    rows.append(about | {"of": of, "metric": metric} | drop(before, after, examples))
                    if of is None:
                        last[kind, name, measure, metric] = _lost(before, after)
    differences = []
    for metric in METRICS:
        ours, random = (last.get((kind, None, COMPUTED, metric)) for kind in (PROBE, RANDOM))
        if ours is not None and random is not None:
            row = difference("random latents", contrast(ours, random), random.value_DR.shape, examples)
            differences.append(row | {"metric": metric})
    return pl.DataFrame(rows, schema=SCHEMA), pl.DataFrame(differences, schema=DIFFERENCE | {"metric": pl.String})


def fit_states(task: Task, states_ED: np.ndarray) -> tuple[Probe, Standardised]:
    """The probe of a layer, its C chosen by folds inside the training split."""
    train_ED, label_E = states_ED[task.train_E], task.label_E[task.train_E]
    space = Standardised(train_ED)
    folds = Folds(train_ED, label_E, task.fold_E, Standardised)
    return fit_probe(space.apply(train_ED), label_E, folds, task.classes, task.penalties), space


def _told(
    task: Task, plain_ED: np.ndarray, taken_ED: np.ndarray, probe: Probe, space: Standardised
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities that a probe gives on the test split, with the latents in the model and without."""
    test_E = task.split_E == "test"
    before_EC, after_EC = (probe.probabilities(space.apply(states[test_E])) for states in (plain_ED, taken_ED))
    return before_EC, after_EC


def _beside(
    task: Task, plain_ED: np.ndarray, taken_ED: np.ndarray, span_ND: np.ndarray, C: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same in what is orthogonal to the directions that were taken out, by a probe of its own."""
    plain_ED, taken_ED = (states - (states @ span_ND.T) @ span_ND for states in (plain_ED, taken_ED))
    space = Standardised(plain_ED[task.train_E])
    probe = fit_at(space.apply(plain_ED[task.train_E]), task.label_E[task.train_E], task.classes, C)
    return _told(task, plain_ED, taken_ED, probe, space)


def score_of(number: int | None, metric: str, label_E: np.ndarray, told_EC: np.ndarray) -> tuple[float, np.ndarray]:
    """A metric of one class, or the mean over classes, and its influence values [E]."""
    if metric == "macro_f1":
        said_E = told_EC.argmax(axis=1)
        return macro_f1(label_E, said_E) if number is None else f1(label_E == number, said_E == number)
    if number is None:
        return roc_auc(label_E, told_EC)
    return roc_auc((label_E == number).astype(int), np.stack([1 - told_EC[:, number], told_EC[:, number]], axis=1))


def _lost(before: Scored, after: Scored) -> Scored:
    """What is lost between two scores of the same draws, as a score."""
    return Scored(before.value_DR - after.value_DR, before.influence_RG - after.influence_RG, before.drawn)


def drop(before: Scored, after: Scored, examples: int) -> dict:
    effect = contrast(before, after)
    low, high = effect.interval(LEVEL)
    ends = {"before": before.value_DR.mean(), "after": after.value_DR.mean(), "drop": effect.difference}
    return ends | {"drop_low": low, "drop_high": high, "draws": len(before.value_DR), "examples": examples}
