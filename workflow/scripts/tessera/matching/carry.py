"""Probes carried to another model: a probe of SAE A reads SAE B's features through a map, beside its controls.

What a map leaves out, or a control adds, moves the mean decision and its spread, and with them macro F1, whatever the
decision still tells. So every carried probe is calibrated, without labels: over the target's training rows its
decisions get the mean and standard deviation that they have on the source's own features.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tessera.features.registry import kind
from tessera.features.spaces import Standardised, Thresholding
from tessera.matching.pairings import DRAWN, HIDDEN_POOLING, Map, draw_directions, found_pairings
from tessera.probes.fitted import LinearProbe, softmax
from tessera.probes.influence import macro_f1, roc_auc, summed
from tessera.probes.metrics import LEVEL, resampled, with_interval
from tessera.probes.task import Task, read_probe
from tessera.probes.verdicts import Effect, Part, Scored, contrast
from tessera.study.untrained import DRAWS

CLAIMED = {"one_to_one": "examples", "identity": None}  # pairing → over
RANDOM_SAE = "random_sae"  # a condition: the random SAEs' own probes, carried from one to the other
# What a match is held against, and its name in claims.
CONTROLS = {
    "random": "random match",
    "directions": "random directions",
    RANDOM_SAE: "random SAEs",
    "ridge": "ridge map",
}
METRICS = ("macro_f1", "accuracy", "roc_auc")  # of a score
INFLUENCES = {
    "macro_f1": lambda label_E, probability_EC: macro_f1(label_E, probability_EC.argmax(axis=1)),
    "roc_auc": roc_auc,  # which no calibration moves
}  # of a claim
PENALTIES = np.logspace(-1, 6, 15)  # of the ridge map, on standardised hidden states
AXES = ["pooling", "threshold", "selection"]  # of a cell in its job
PLACE = ["source", "features", "condition", "over", *AXES, "split"]


@dataclass
class Side:
    """One SAE on one data set, rows as its examples, with the probes fitted on it."""

    features: dict[str, sp.csr_array]  # pooling → [E, W]
    hidden: dict[str, np.ndarray]  # pooling → [E, d]
    probes: dict[tuple[str, str, str], tuple[LinearProbe, Thresholding]]  # AXES
    hidden_probes: dict[str, LinearProbe]  # pooling


@dataclass
class RandomSaes:
    """One draw of the random SAEs on one data set.

    features: pooling → side → [E, W]. maps: pooling → pairing and over → source → map (`pairings.random_maps`).
    """

    features: dict[str, dict[str, sp.csr_array]]
    maps: dict[str, dict[tuple[str, str | None], dict[str, Map]]]


@dataclass
class Answers:
    """Class probabilities of one condition on one data set, draw by draw."""

    place: dict[str, str | None]
    cv_macro_f1: float
    probability_REC: np.ndarray

    @property
    def predicted_RE(self) -> np.ndarray:
        return self.probability_REC.argmax(axis=2)


def ridge(target_ED: np.ndarray, source_EF: np.ndarray):
    """Ridge map between pooled hidden states, its penalty by leave-one-out on these (training) texts."""
    into, out_of = StandardScaler().fit(target_ED), StandardScaler().fit(source_EF)
    with threadpool_limits(1):
        model = RidgeCV(PENALTIES).fit(into.transform(target_ED), out_of.transform(source_EF))
    return lambda hidden_ED: out_of.inverse_transform(model.predict(into.transform(hidden_ED))).astype(np.float32)


def answer(
    task: Task,
    sides: dict[str, Side],
    pairings: pl.DataFrame,
    ridges: dict,
    seed: int,
    random: Iterable[RandomSaes] = (),
) -> list[Answers]:
    """What every probe says of every example of a data set, in both directions.

    `pairings` are those of `pairings.find`; `ridges` maps (source, pooling) to the ridge map from the target's hidden
    states; `random` are the draws of the random SAEs.
    """
    found = random_answers(task, list(sides["a"].probes), random)
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
                probe, home_EK = own.probes[cell][0], _decide(*own.probes[cell], features_EW)
                for condition, matrices in conditions:
                    decisions = [_decide(*own.probes[cell], matrix) for matrix in matrices]
                    told = [softmax(calibrated(one_EK, home_EK, task.train_E)) for one_EK in decisions]
                    found.append(Answers(place | condition, probe.cv_macro_f1, np.array(told)))
                native = other.probes[cell][0]
                told = softmax(_decide(*other.probes[cell], other.features[pooling]))
                about = place | {"condition": "native", "over": None}
                found.append(Answers(about, native.cv_macro_f1, told[None]))
        for pooling, probe in own.hidden_probes.items():
            own_ED, other_ED = own.hidden[pooling], other.hidden[pooling]
            scale, of_other = (Standardised(states_ED[task.train_E]).apply for states_ED in (own_ED, other_ED))
            there = {"source": source, "features": "hidden", "over": None, "pooling": pooling}
            there |= {"threshold": None, "selection": None}
            native, home_EK = other.hidden_probes[pooling], probe.decisions(scale(own_ED))
            carried_EK = probe.decisions(scale(ridges[source, pooling](other_ED)))
            for condition, by, decision_EK in (
                ("source", probe, home_EK),
                ("native", native, native.decisions(of_other(other_ED))),
                ("ridge", probe, calibrated(carried_EK, home_EK, task.train_E)),
            ):
                found.append(Answers(there | {"condition": condition}, by.cv_macro_f1, softmax(decision_EK)[None]))
    return found


def random_answers(task: Task, cells: list[tuple[str, str, str]], random: Iterable[RandomSaes]) -> list[Answers]:
    """What the random SAEs' own probes say when they are carried, as those of the match are.

    Each is a probe on the best of `cells` by cross-validation on its own side: the same search that the match has.
    """
    told: dict[tuple, list[tuple[float, np.ndarray]]] = {}
    for draw in random:
        for source, target in ("ab", "ba"):
            own = {pooling: features[source] for pooling, features in draw.features.items()}
            pooling, probe, space = _best_probe(task, cells, own)
            home_EK = _decide(probe, space, own[pooling])
            for pairing, maps in draw.maps[pooling].items():
                moved_EW = maps[source].apply(draw.features[pooling][target], own[pooling].shape[1])
                decision_EK = calibrated(_decide(probe, space, moved_EW), home_EK, task.train_E)
                told.setdefault((source, *pairing), []).append((probe.cv_macro_f1, softmax(decision_EK)))
    found = []
    for (source, _, over), draws in told.items():
        place = {"source": source, "features": "sae", "condition": RANDOM_SAE, "over": over, **dict.fromkeys(AXES)}
        cv_macro_f1, probabilities = zip(*draws, strict=True)
        found.append(Answers(place, float(np.mean(cv_macro_f1)), np.array(probabilities)))
    return found


def _best_probe(
    task: Task, cells: list[tuple[str, str, str]], features: dict[str, sp.csr_array]
) -> tuple[str, LinearProbe, Thresholding]:
    """The pooling of the cell with the best cross-validated F1, its probe, and what makes its matrix."""
    found = []
    for pooling, threshold in dict.fromkeys(cell[:2] for cell in cells):
        selections = [cell[2] for cell in cells if cell[:2] == (pooling, threshold)]
        for fitted in task.fit(kind("sae"), features[pooling], pooling, threshold, selections):
            found.append((pooling, *read_probe(fitted.scores, fitted.coefficients, task.classes, task.repeat)))
    return max(found, key=lambda one: one[1].cv_macro_f1)


def calibrated(decision_EK: np.ndarray, home_EK: np.ndarray, train_E: np.ndarray) -> np.ndarray:
    """Decisions with the mean and standard deviation, on training rows, of those that a probe makes at home."""
    mean_K, sd_K = decision_EK[train_E].mean(axis=0), decision_EK[train_E].std(axis=0)
    scale_K = np.divide(home_EK[train_E].std(axis=0), sd_K, out=np.zeros(len(sd_K)), where=sd_K > 1e-12)
    return (decision_EK - mean_K) * scale_K + home_EK[train_E].mean(axis=0)


def _moved(pairing: str, found: Map, other: Side, pooling: str, width: int, drawn: tuple) -> sp.csr_array:
    """The other side's features, read as latents [E, width] of this one; where nothing is paired, all are silent."""
    if pairing != "directions":
        return found.apply(other.features[pooling], width)
    hidden_ED = other.hidden[HIDDEN_POOLING.get(pooling, "mean")]
    weights_DV = draw_directions(hidden_ED.shape[1], other.features[pooling].shape[1], *drawn)
    return found.apply_directions(hidden_ED, weights_DV, width)


def _decide(probe: LinearProbe, thresholding: Thresholding, features_EW: sp.csr_array) -> np.ndarray:
    return probe.decisions(thresholding.apply(features_EW))


def results(answered: dict[str, tuple[Task, list[Answers]]]) -> dict[str, pl.DataFrame]:
    """What a match leaves of the probes that were carried: scores, predictions and claims, data set after data set."""
    scored = {data: score(*answers) for data, answers in answered.items()}
    scores, predictions = (
        pl.concat([parts[number].insert_column(0, pl.lit(data).alias("data")) for data, parts in scored.items()])
        for number in range(2)
    )
    return {"scores": scores, "predictions": predictions, "claims": claims(answered)}


def score(task: Task, answers: list[Answers]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Macro F1, accuracy and ROC AUC of every condition, on the data set's own resamples.

    Of a control with several draws: the mean over them, and each resample of the interval has one draw of them, so that
    the interval is as wide as luck in the draw makes it.
    """
    scores, predictions = [], []
    for split in task.test_splits:
        rows_E, weights_BE = task.split_E == split, task.weights(split)
        examples = task.examples.filter(pl.Series(rows_E)).select("example", "id", "group", "label")
        for one in answers:
            place = one.place | {"split": split}
            draws = [resampled(task.label_E[rows_E], told[rows_E], weights_BE) for told in one.probability_REC]
            for metric in METRICS:
                values_RB = np.array([values[metric] for values in draws])
                place |= with_interval(metric, over_draws(values_RB, task.seed))
            about = {"draws": len(draws), "examples": int(rows_E.sum()), "cv_macro_f1": one.cv_macro_f1}
            scores.append(place | about)
            for draw, predicted_E in enumerate(one.predicted_RE):
                said = pl.Series(task.classes).gather(predicted_E[rows_E])
                columns = [pl.lit(place[key], pl.String).alias(key) for key in PLACE]
                predictions.append(examples.select(*columns, pl.lit(draw).alias("draw"), pl.all(), predicted=said))
    return _with_place(scores), pl.concat(predictions)


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
    """How much better a probe does on matched latents than on each control: what the claims of a study rest on.

    A row per data set, source, pairing, control and metric: the difference, its standard error and degrees of freedom,
    which count the same test examples and, for a control that is drawn, its draws (`verdicts`), p, and the 95 %
    interval. The cell (pooling, threshold, selection) is the one with the best cross-validated F1 of the SOURCE's own
    probe.
    """
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
            for pairing, over in CLAIMED.items():
                match = known.get((source, "sae", pairing, over, *best["sae"]))
                if match is None:
                    continue
                place = {"data": data, "source": source, "pairing": pairing}
                place |= dict(zip(AXES, best["sae"], strict=True))
                keys = {
                    "random": ("sae", "random", "examples", *best["sae"]),
                    "directions": ("sae", "directions", "examples", *best["sae"]),
                    RANDOM_SAE: ("sae", RANDOM_SAE, over, None, None, None),
                    "ridge": ("hidden", "ridge", None, *best.get("hidden", [])),
                }
                for condition, key in keys.items():
                    control = known.get((source, *key))
                    for metric in INFLUENCES if control else ():
                        effect = _above(task, match, control, rows_E, metric)
                        low, high = effect.interval(LEVEL)
                        row = place | {"against": CONTROLS[condition], "metric": metric}
                        row |= {"difference": effect.difference, "difference_low": low, "difference_high": high}
                        row |= {"error": effect.error, "freedom": effect.freedom, "p": effect.p}
                        rows.append(row | {"draws": len(control.probability_REC), "examples": int(rows_E.sum())})
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(AXES, pl.String))


def _above(task: Task, match: Answers, control: Answers, rows_E: np.ndarray, metric: str) -> Effect:
    """How much better a match is than a control.

    Its two SAEs are one draw, whose luck cannot be seen; against random SAEs it counts as that of one of theirs, so
    that another pair of random SAEs is not taken for better than they.
    """
    effect = contrast(*(_scored(task, one, rows_E, metric) for one in (match, control)))
    draws = len(control.probability_REC)
    if control.place["condition"] == RANDOM_SAE:
        effect.parts[-1] = Part(effect.parts[-1].variance * (draws + 1), draws - 1)  # of a draw and a mean of draws
    return effect


def _scored(task: Task, one: Answers, rows_E: np.ndarray, metric: str) -> Scored:
    """A metric of each draw on some rows, and what each group of them adds."""
    _, group_E = np.unique(task.examples["group"].to_numpy()[rows_E], return_inverse=True)
    found = [INFLUENCES[metric](task.label_E[rows_E], told_EC[rows_E]) for told_EC in one.probability_REC]
    influence_E = np.mean([influence_E for _, influence_E in found], axis=0)
    return Scored(np.array([[value] for value, _ in found]), summed(influence_E, group_E, group_E.max() + 1)[None])


def best(scores: pl.DataFrame) -> pl.DataFrame:
    """Per match, data set, source and split: every condition at the cell with the best cv_macro_f1 of the source.

    `native` stands at the target's own best cell: it is what a probe trained there reaches. Random SAEs have a cell of
    their own in each draw.
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
    return pl.concat([*chosen, scores.filter(condition=RANDOM_SAE)])
