"""The table of regimes: each level by itself, chosen inside it, beside the plain cells."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score
from tessera.results.catalogue import TABLES
from tessera.results.contestants import CONTESTANTS
from tessera.results.regime_tables import regime_table
from tessera.results.tables import best_cells, with_control
from tessera.study.grid import CELL

SAE = {"features": "sae", "model": "m", "layer": 1, "width": "1k", "threshold": "none", "selection": "none"}
CELLS = [SAE | {"pooling": pooling} for pooling in ("sum", "max")] + [
    {"features": "hidden", "model": "m", "layer": 1, "pooling": "mean"},
    {"features": "tfidf", "pooling": "word"},
]
PLACE = {name: pl.Int64 if name == "layer" else pl.String for name in CELL}
METRICS = ("macro_f1", "accuracy", "roc_auc", "average_precision", "ece")


def said(seed: int, skills: dict[str, list[float]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores and predictions of CELLS on two data sets in two repeats; a skill is the chance to be right."""
    rng = np.random.default_rng(seed)
    scores, predictions = [], []
    for data in "de":
        truth_E = rng.integers(2, size=120)
        for number, cell in enumerate(CELLS):
            for repeat in (0, 1):
                place = {**dict.fromkeys(CELL), **cell, "probe": "logistic", "data": data, "draw": 0, "repeat": repeat}
                right_E = rng.random(120) < skills[data][number]
                told_E = np.where(right_E, truth_E, 1 - truth_E)
                f1 = f1_score(truth_E, told_E, average="macro")
                scores.append(
                    {**place, "split": "test", "examples": 120, "training_examples": 480, "reliability": 0.1}
                    | {f"{metric}{end}": f1 for metric in METRICS for end in ("", "_low", "_high")}
                    | {"cv_macro_f1": rng.random(), "density": 0.5, "n_features": 3, "converged": True}
                )
                predictions += [
                    {
                        **place,
                        "split": "test",
                        "id": f"{data}{row}",
                        "group": row,
                        "label": str(truth),
                        "predicted": told,
                    }
                    for row, (truth, told) in enumerate(zip(truth_E, map(str, told_E), strict=True))
                ]
    schema = {**PLACE, "draw": pl.Int64}
    return pl.DataFrame(scores, schema_overrides=schema), pl.DataFrame(predictions, schema_overrides=schema)


def marked(frame: pl.DataFrame, regime: str, level: float) -> pl.DataFrame:
    return frame.with_columns(regime=pl.lit(regime), level=pl.lit(level))


@pytest.fixture(scope="module")
def parts():
    """(regime, level) → scores and predictions; plain ones under None."""
    good, bad = {"d": [0.9, 0.8, 0.7, 0.6], "e": [0.9, 0.9, 0.6, 0.9]}, {"d": [0.6, 0.6, 0.6, 0.5], "e": [0.6] * 4}
    keys = [None, ("noise", 0.3), ("noise", 0.1), ("scarcity", 0.1), ("scarcity", 0.5)]
    found = {key: said(seed, bad if key else good) for seed, key in enumerate(keys)}
    return {key: (with_control(scores, {}, []), predictions) for key, (scores, predictions) in found.items()}


@pytest.fixture(scope="module")
def table(parts):
    merged = [
        pl.concat([marked(pair[part], *key) for key, pair in parts.items() if key]).sample(
            fraction=1, shuffle=True, seed=0
        )
        for part in (0, 1)
    ]
    order = [*CELL, "draw", "repeat"]
    scores = merged[0].sort(order, maintain_order=True, nulls_last=True)
    predictions = merged[1].sort([*order, "group"], maintain_order=True, nulls_last=True)
    return regime_table(scores, predictions.lazy(), parts[None][0], parts[None][1].lazy())


def test_its_columns_are_those_of_the_catalogue(table):
    TABLES["regimes"].check(table.columns)


def test_each_level_has_the_best_cells_that_it_has_alone_plain_ones_first(parts, table):
    keys = table.select("regime", "level").unique(maintain_order=True).rows()
    assert keys == [("none", None), ("scarcity", 0.5), ("scarcity", 0.1), ("noise", 0.1), ("noise", 0.3)]
    for regime, level in keys:
        alone = best_cells(parts[None if level is None else (regime, level)][0])
        here = table.filter(pl.col("level").eq_missing(level), regime=regime)
        assert here.select(alone.columns).equals(alone)
        assert here["contestant"].to_list() == ["SAE", "hidden states", "TF-IDF"] * 2


def test_how_far_the_sae_is_above_is_the_difference_of_the_cells_that_each_repeat_chooses(parts, table):
    assert table.filter(contestant="SAE")["sae_above"].null_count() == 10
    for key, (scores, predictions) in parts.items():
        here = table.filter(pl.col("level").eq_missing(key[1] if key else None), regime=key[0] if key else "none")
        for data, other in (("d", "hidden states"), ("e", "TF-IDF")):
            found = []
            for repeat in (0, 1):
                f1 = []
                for name in ("SAE", other):
                    cells = scores.filter(CONTESTANTS[name], data=data, repeat=repeat)
                    best = cells.sort("cv_macro_f1", descending=True).select(CELL).row(0, named=True)
                    told = predictions.filter(
                        *(pl.col(name).eq_missing(value) for name, value in best.items()), repeat=repeat
                    )
                    f1.append(f1_score(told["label"], told["predicted"], average="macro"))
                found.append(f1[0] - f1[1])
            row = here.filter(data=data, contestant=other).row(0, named=True)
            assert row["sae_above"] == pytest.approx(np.mean(found), abs=1e-12)
            assert row["sae_above_low"] < row["sae_above"] < row["sae_above_high"]
    assert table.filter(regime="none", data="d", contestant="TF-IDF")["sae_above_low"][0] > 0  # planted
    null = table.filter(pl.col("regime") != "none", data="e").drop_nulls("sae_above")
    assert len(null) == 8 and (null["sae_above_low"] > 0).sum() <= 1


def test_a_study_without_an_sae_has_nothing_above(parts):
    scores, predictions = parts[None]
    without = pl.col("features") != "sae"
    found = regime_table(
        marked(scores.filter(without), "noise", 0.1),
        marked(predictions.filter(without), "noise", 0.1).lazy(),
        scores.filter(without),
        predictions.filter(without).lazy(),
    )
    assert found["sae_above"].null_count() == len(found) == 2 * 2 * 2
