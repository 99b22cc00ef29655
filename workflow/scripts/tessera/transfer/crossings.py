"""What a transferred probe is worth: the number of the target's own training examples that do as well."""

from functools import cache

import numpy as np
import polars as pl

from tessera.probes.metrics import macro_f1_of, resample_weights
from tessera.study.grid import CELL
from tessera.study.paths import JOINT

PLACE = ["scenario", "features", "control", "frozen", "target"]
SCHEMA = {
    **dict.fromkeys(["scenario", "features"], pl.String),
    "control": pl.Boolean,
    "frozen": pl.String,
    **dict.fromkeys(["condition", "source", "target"], pl.String),
    **dict.fromkeys(["macro_f1", "native_macro_f1", "native_examples"], pl.Float64),
    **dict.fromkeys(["native_examples_low", "native_examples_high"], pl.Float64),
    "below_smallest": pl.Boolean,
}


def crossings(
    best: pl.DataFrame, predictions: pl.LazyFrame, learnt: dict[str, list[str]], *, resamples: int, seed: int
) -> pl.DataFrame:
    """How much native data a transferred probe is worth, per scenario, kind of features, condition, source and target.

    `native_examples`: the number of the target's own training examples at which the native curve first reaches the
    transferred score, by linear interpolation over log examples; null where it never does. `below_smallest` says that
    the smallest native fraction is as good already (its number stands there: an upper bound). The 95 % interval comes
    from resampled test examples, the same for the curve and for the transferred probe; a null end is never reached.

    Scores and curves are means over repeats; a resample draws groups of the whole data set, so that a text which
    several repeats test counts once. A joint probe that has learnt the target's own data is left out.

    `best` is the table transfer_best, `predictions` are those of all transfers; `learnt` has the sources of each
    scenario.
    """
    key = [
        "scenario",
        "source",
        "target",
        "condition",
        "fraction",
        "repeat",
        *(name for name in CELL if name in best.columns),
    ]
    answers = predictions.join(best.lazy().select(*key, "control", "frozen"), on=key, nulls_equal=True).collect()
    probe = [*PLACE, "condition", "source", "fraction"]
    found = {place: rows.sort("example") for place, rows in answers.group_by(probe)}
    weights = cache(lambda group: resample_weights(np.frombuffer(group, np.int64), resamples, seed))

    @cache
    def f1_B(*place) -> np.ndarray:
        groups = found[place]["group"].unique().sort()
        weights_BG = weights(groups.cast(pl.Int64).to_numpy().tobytes())
        return np.mean(
            [
                macro_f1_of(rows, weights_BG[:, groups.search_sorted(rows["group"]).to_numpy()])
                for _, rows in found[place].group_by("repeat", maintain_order=True)
            ],
            axis=0,
        )

    of_one = [*PLACE, "condition", "source", "fraction"]
    best = best.group_by(of_one, maintain_order=True).agg(pl.col("macro_f1", "training_examples").mean())
    native = best.filter(condition="native").sort("fraction")
    curves = {place: group for place, group in native.group_by(PLACE, maintain_order=True)}
    rows = []
    for row in best.filter(pl.col("condition") != "native", fraction=1.0).iter_rows(named=True):
        place = tuple(row[name] for name in PLACE)
        own = row["condition"] == JOINT and row["target"] in learnt[row["scenario"]]
        if place not in curves or own:
            continue
        curve = curves[place]
        native_FB = np.array([f1_B(*place, "native", row["target"], share) for share in curve["fraction"]])
        moved_B = f1_B(*place, row["condition"], row["source"], 1.0)
        size_F = curve["training_examples"].to_numpy()
        reached = [crossing(size_F, f1_F, moved) for f1_F, moved in zip(native_FB.T, moved_B, strict=True)]
        worth_B = np.array([np.inf if examples is None else examples for examples, _ in reached])
        low, high = np.quantile(worth_B[1:], [0.025, 0.975], method="closest_observation")
        ends = {"native_examples": worth_B[0], "native_examples_low": low, "native_examples_high": high}
        rows.append(
            {name: row[name] for name in (*PLACE, "condition", "source", "macro_f1")}
            | {"native_macro_f1": curve["macro_f1"][-1], "below_smallest": reached[0][1]}
            | {name: float(value) if np.isfinite(value) else None for name, value in ends.items()}
        )
    return pl.DataFrame(rows, schema=SCHEMA)


def crossing(examples_F: np.ndarray, f1_F: np.ndarray, transferred: float) -> tuple[float | None, bool]:
    """Where a curve of F1 over training examples (ascending) first reaches `transferred`; see `crossings`."""
    above = np.flatnonzero(f1_F >= transferred)
    if not len(above):
        return None, False
    first = int(above[0])
    if first == 0:
        return float(examples_F[0]), True
    low, high = f1_F[first - 1], f1_F[first]
    share = (transferred - low) / (high - low)
    logs = np.log(examples_F[first - 1 : first + 1])
    return float(np.exp(logs[0] + share * (logs[1] - logs[0]))), False
