"""Probes carried to another model: a probe of SAE A reads SAE B's features through a map, beside its controls."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tessera.features.spaces import Standardised, Thresholding
from tessera.matching.pairings import DRAWN, DRAWS, HIDDEN_POOLING, Map, draw_directions, found_pairings
from tessera.probes.fit import Probe
from tessera.probes.influence import macro_f1, summed
from tessera.probes.metrics import LEVEL, confusion_scores, with_interval
from tessera.probes.task import Task
from tessera.probes.verdicts import Scored, contrast, decide

CLAIMED = [("sae", "one_to_one", "examples"), ("sae", "identity", None), ("hidden", "ridge", None)]
CLAIMED += [("sae", control, "examples") for control in ("random", "directions")]
CONTROLS = {"random": "random match", "directions": "random directions", "ridge": "ridge map"}
PENALTIES = np.logspace(-1, 6, 15)  # of the ridge map, on standardised hidden states
AXES = ["pooling", "threshold", "selection"]  # of a cell in its job
PLACE = ["source", "features", "condition", "over", *AXES, "split"]


@dataclass
class Side:
    """One SAE on one data set, rows as its examples, with the probes fitted on it."""

    features: dict[str, sp.csr_array]  # pooling → [E, W]
    hidden: dict[str, np.ndarray]  # pooling → [E, d]
    probes: dict[tuple[str, str, str], tuple[Probe, Thresholding]]  # AXES
    hidden_probes: dict[str, Probe]  # pooling


@dataclass
class Answers:
    """Class probabilities' winners of one condition on one data set: a row per draw."""

    place: dict[str, str | None]
    cv_macro_f1: float
    predicted_RE: np.ndarray


def ridge(target_ED: np.ndarray, source_EF: np.ndarray):
    """Ridge map between pooled hidden states, its penalty by leave-one-out on these (training) texts."""
    into, out_of = StandardScaler().fit(target_ED), StandardScaler().fit(source_EF)
    with threadpool_limits(1):
        model = RidgeCV(PENALTIES).fit(into.transform(target_ED), out_of.transform(source_EF))
    return lambda hidden_ED: out_of.inverse_transform(model.predict(into.transform(hidden_ED))).astype(np.float32)


def answer(task: Task, sides: dict[str, Side], pairings: pl.DataFrame, ridges: dict, seed: int) -> list[Answers]:
    """What every probe says of every test example of a data set, in both directions.

    `pairings` are those of `pairings.find`; `ridges` maps (source, pooling) to the ridge map from the target's hidden
    states.
    """
    found = []
    for source, target in ("ab", "ba"):
        own, other = sides[source], sides[target]
        for pooling, features_EW in own.features.items():
            conditions = [({"condition": "source", "over": None}, [features_EW])]
            here = pairings.filter(source=source, pooling=pooling)
            for pairing, over in found_pairings(pairings):
                rows = here.filter(pl.col("over").eq_missing(over), pairing=pairing)
                draws = [rows.filter(draw=draw) for draw in range(DRAWS)] if pairing in DRAWN else [rows]
                moved = [
                    _moved(pairing, Map.of(rows), other, pooling, features_EW.shape[1], (seed, target, draw))
                    for draw, rows in enumerate(draws)
                ]
                conditions.append(({"condition": pairing, "over": over}, moved))
            for cell in (cell for cell in own.probes if cell[0] == pooling):
                place = {"source": source, "features": "sae", **dict(zip(AXES, cell, strict=True))}
                for condition, matrices in conditions:
                    answers = [_predict(*own.probes[cell], matrix) for matrix in matrices]
                    found.append(Answers(place | condition, own.probes[cell][0].cv_macro_f1, np.array(answers)))
                native, thresholding = other.probes[cell]
                predicted = _predict(native, thresholding, other.features[pooling])
                about = place | {"condition": "native", "over": None}
                found.append(Answers(about, native.cv_macro_f1, predicted[None]))
        for pooling, probe in own.hidden_probes.items():
            own_ED, other_ED = own.hidden[pooling], other.hidden[pooling]
            scale, of_other = (Standardised(states_ED[task.train_E]).apply for states_ED in (own_ED, other_ED))
            there = {"source": source, "features": "hidden", "over": None, "pooling": pooling}
            there |= {"threshold": None, "selection": None}
            native = other.hidden_probes[pooling]
            for condition, by, matrix in (
                ("source", probe, scale(own_ED)),
                ("native", native, of_other(other_ED)),
                ("ridge", probe, scale(ridges[source, pooling](other_ED))),
            ):
                predicted = by.probabilities(matrix).argmax(axis=1)
                found.append(Answers(there | {"condition": condition}, by.cv_macro_f1, predicted[None]))
    return found


def _moved(pairing: str, found: Map, other: Side, pooling: str, width: int, drawn: tuple) -> sp.csr_array:
    """The other side's features, read as latents [E, width] of this one; where nothing is paired, all are silent."""
    if pairing != "directions":
        return found.apply(other.features[pooling], width)
    hidden_ED = other.hidden[HIDDEN_POOLING.get(pooling, "mean")]
    weights_DV = draw_directions(hidden_ED.shape[1], other.features[pooling].shape[1], *drawn)
    return found.apply_directions(hidden_ED, weights_DV, width)


def _predict(probe: Probe, thresholding: Thresholding, features_EW: sp.csr_array) -> np.ndarray:
    return probe.probabilities(thresholding.apply(features_EW)).argmax(axis=1)


def results(answered: dict[str, tuple[Task, list[Answers]]]) -> dict[str, pl.DataFrame]:
    """What a match leaves of the probes that were carried: scores, predictions and claims, data set after data set."""
    scored = {data: score(*answers) for data, answers in answered.items()}
    scores, predictions = (
        pl.concat([parts[number].insert_column(0, pl.lit(data).alias("data")) for data, parts in scored.items()])
        for number in range(2)
    )
    return {"scores": scores, "predictions": predictions, "claims": claims(answered)}


def score(task: Task, answers: list[Answers]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Macro F1 and accuracy of every condition, on the data set's own resamples.

    Of a control with several draws: the mean over them, and each resample of the interval has one draw of them, so that
    the interval is as wide as luck in the draw makes it.
    """
    scores, predictions = [], []
    for split in task.test_splits:
        rows_E, weights_BE = task.split_E == split, task.weights(split)
        examples = task.examples.filter(pl.Series(rows_E)).select("example", "id", "group", "label")
        for one in answers:
            place = one.place | {"split": split}
            f1_RB, accuracy_RB = _resampled(task, one, rows_E, weights_BE)
            about = {"draws": len(f1_RB), "examples": int(rows_E.sum()), "cv_macro_f1": one.cv_macro_f1}
            values = with_interval("macro_f1", over_draws(f1_RB, task.seed))
            scores.append({**place, **values, **with_interval("accuracy", over_draws(accuracy_RB, task.seed)), **about})
            for draw, predicted_E in enumerate(one.predicted_RE):
                said = pl.Series(task.classes).gather(predicted_E[rows_E])
                columns = [pl.lit(place[key], pl.String).alias(key) for key in PLACE]
                predictions.append(examples.select(*columns, pl.lit(draw).alias("draw"), pl.all(), predicted=said))
    return _with_place(scores), pl.concat(predictions)


def _resampled(task: Task, one: Answers, rows_E: np.ndarray, weights_BE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 and accuracy of each draw on each resample of some rows, both [R, 1 + B]."""
    found = [
        confusion_scores(task.label_E[rows_E], predicted_E[rows_E], len(task.classes), weights_BE)
        for predicted_E in one.predicted_RE
    ]
    return tuple(np.array(values) for values in zip(*found, strict=True))


def _with_place(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(PLACE, pl.String)).select(*PLACE, pl.exclude(PLACE))


def over_draws(values_RB: np.ndarray, seed: int) -> np.ndarray:
    """[1 + B]: the mean over draws of the sample itself, then one draw, at random, for each resample."""
    draws, columns = values_RB.shape
    chosen_B = np.random.default_rng(seed).integers(draws, size=columns)
    values_B = values_RB[chosen_B, np.arange(columns)]
    values_B[0] = values_RB[:, 0].mean()
    return values_B


def claims(answered: dict[str, tuple[Task, list[Answers]]]) -> pl.DataFrame:
    """Does a probe do better on matched latents than on each control? A row per data set, source, pairing and claim.

    The cell (pooling, threshold, selection) is the one with the best cross-validated F1 of the SOURCE's own probe.
    Intervals count the same test examples and, for a control that is drawn, its draws (`verdicts`), at a level
    corrected (Bonferroni) for the number of data sets and both directions. `latents transfer` holds where the
    match beats a random match AND random directions of the target's hidden states, and fails where it loses to either
    (an intersection-union test: it needs no further correction).
    """
    level = 1 - (1 - LEVEL) / (2 * len(answered))
    rows = []
    for data, (task, answers) in answered.items():
        rows_E = task.split_E == "test"
        known = {tuple(one.place[key] for key in PLACE[:-1]): one for one in answers}
        for source in "ab":
            homes = {
                features: [one for key, one in known.items() if key[:3] == (source, features, "source")]
                for features in ("sae", "hidden")
            }
            best = {
                features: [max(ones, key=lambda one: one.cv_macro_f1).place[key] for key in AXES]
                for features, ones in homes.items()
                if ones
            }

            scored = {
                condition: _scored(task, known[key], rows_E)
                for features, condition, over in CLAIMED
                if (key := (source, features, condition, over, *best.get(features, []))) in known
            }
            for pairing in (pairing for pairing in ("one_to_one", "identity") if pairing in scored):
                place = {
                    "data": data,
                    "source": source,
                    "pairing": pairing,
                    **dict(zip(AXES, best["sae"], strict=True)),
                }
                found = {
                    control: decide(contrast(scored[pairing], scored[control]), level) | {"level": level}
                    for control in CONTROLS
                    if control in scored
                }
                needed = [found[control]["verdict"] for control in ("random", "directions")]
                found["random"]["verdict"] = None  # any two SAEs that read the same texts beat it: no claim by itself
                rows += [place | {"claim": f"{pairing} > {CONTROLS[control]}", **found[control]} for control in found]
                both = next((one for one in ("fails", "undecided") if one in needed), "holds")
                rows.append(place | {"claim": "latents transfer", "verdict": both})
    names = ["data", "source", "pairing", *AXES, "claim"]
    numbers = dict.fromkeys(["difference", "difference_low", "difference_high", "level"], pl.Float64)
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String) | numbers | {"verdict": pl.String})


def _scored(task: Task, one: Answers, rows_E: np.ndarray) -> Scored:
    """Macro F1 of each draw on some rows, and what each group of them adds."""
    _, group_E = np.unique(task.examples["group"].to_numpy()[rows_E], return_inverse=True)
    found = [macro_f1(task.label_E[rows_E], predicted_E[rows_E]) for predicted_E in one.predicted_RE]
    influence_E = np.mean([influence_E for _, influence_E in found], axis=0)
    return Scored(np.array([[value] for value, _ in found]), summed(influence_E, group_E, group_E.max() + 1)[None])


def best(scores: pl.DataFrame) -> pl.DataFrame:
    """Per match, data set, source and split: every condition at the cell with the best cv_macro_f1 of the source.

    `native` stands at the target's own best cell: it is what a probe trained there reaches.
    """
    place = ["match", "data", "source", "features"]
    chosen = []
    for condition in ("source", "native"):
        cells = scores.filter(condition=condition, split="test").sort(
            "cv_macro_f1", descending=True, maintain_order=True
        )
        cells = cells.group_by(place, maintain_order=True).first().select(*place, *AXES)
        wanted = (pl.col("condition") == "native") == (condition == "native")
        chosen.append(scores.filter(wanted).join(cells, on=[*place, *AXES], nulls_equal=True, maintain_order="left"))
    return pl.concat(chosen)
