"""Latents beside hidden states: one matrix of both, weighed alike, and what it adds where each tells a half."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from probes.asis import task_of
from studies import study_of
from tessera.features.beside import Pair
from tessera.features.registry import KINDS, kind
from tessera.results.claims import QUIVER, Cells, judge
from tessera.study.grid import CELL

TESTS, WIDTH, DIMS = 500, 120, 30
PLACE = {
    "sae": ("m", 1, "120", "max", "none", "none"),
    "hidden": ("m", 1, None, "mean", None, None),
    "beside": ("m", 1, "120", "max_beside_mean", "none", None),
}


def drawn(told, size=800, seed=0):
    """Labels, and features of which the latents, the hidden states, `both` by halves, or neither tell the class."""
    rng = np.random.default_rng(seed)
    latents_EW = rng.gamma(2, 1, (size, WIDTH)) * (rng.random((size, WIDTH)) < 0.2)
    hidden_ED = rng.normal(3, 2, (size, DIMS)) * np.geomspace(0.1, 10, DIMS)
    if told == "copy":  # every dimension by a latent for its positive and one for its negative part
        around_ED = hidden_ED - hidden_ED.mean(axis=0)
        latents_EW = np.hstack([np.maximum(around_ED, 0), np.maximum(-around_ED, 0)])
    halves_E = [latents_EW[:, :4].sum(axis=1), hidden_ED[:, :4] @ (1 / np.geomspace(0.1, 10, DIMS)[:4])]
    halves_E = [(half_E - half_E.mean()) / half_E.std() for half_E in halves_E]
    label_E = {"both": sum(halves_E) > 0, "copy": halves_E[1] > 0, "neither": rng.random(size) < 0.5}[told].astype(int)
    return label_E, Pair(sp.csr_array(latents_EW.astype(np.float32)), hidden_ED.astype(np.float32))


def cells(told, seed=0):
    """Tables of scores and predictions of three cells: SAE, hidden states, and both."""
    label_E, pair = drawn(told, seed=seed)
    task, scores, predictions = task_of(label_E, TESTS), [], []
    for name, features in (("sae", pair.latents_EW), ("hidden", pair.hidden_ED), ("beside", pair)):
        place = dict(zip(CELL, (name, *PLACE[name], "logistic", f"d{seed}"), strict=True)) | {"draw": 0}
        types = {axis: pl.Int64 if axis in ("layer", "draw") else pl.String for axis in place}
        columns = [pl.lit(value, types[axis]).alias(axis) for axis, value in place.items()]
        (cell,) = task.fit(kind(name), features, place["pooling"], place["threshold"], ["none"])
        scores.append(cell.scores.with_columns(*columns, control=pl.lit(False), frozen=pl.lit(None, pl.String)))
        predictions.append(cell.predictions.with_columns(*columns))
    return pl.concat(scores), pl.concat(predictions)


def judged(told, seeds=range(1)):
    """Verdicts of studies of one data set each: the quiver's, and of both beside against hidden states."""
    found = []
    for seed in seeds:
        scores, predictions = cells(told, seed)
        study = Cells(scores, predictions.lazy(), [])
        claims = [QUIVER, ("beside", pl.col("features") == "beside", pl.col("features") == "hidden")]
        rows = judge(study.contrasts(claims, [f"d{seed}"]), QUIVER[0])
        found.append((*rows["verdict"], dict(scores.select("features", "macro_f1").iter_rows())))
    return found


def test_where_either_tells_a_half_both_tell_the_whole():
    ((quiver, beside, f1),) = judged("both")
    assert (quiver, beside) == ("holds", "holds")
    assert f1["beside"] > max(f1["sae"], f1["hidden"]) + 0.1
    assert min(f1["sae"], f1["hidden"]) > 0.58


@pytest.mark.parametrize("told", ["copy", "neither"])
def test_where_latents_add_nothing_nothing_holds(told):
    found = judged(told, range(2))
    assert not [verdicts for *verdicts, _ in found if "holds" in verdicts]
    if told == "neither":
        assert np.mean([f1["beside"] for *_, f1 in found]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("threshold", ["none", "1.0"])
def test_both_blocks_have_one_total_variance_on_training_rows(threshold):
    _, pair = drawn("neither")
    train_E = np.arange(len(pair.hidden_ED)) < 300
    space = kind("beside").space(pair[train_E], "max_beside_mean", threshold)
    matrix_EK = space.apply(pair)
    assert matrix_EK.dtype == np.float32 and matrix_EK.shape == (800, WIDTH + DIMS)
    variance_K = matrix_EK.toarray()[train_E].var(axis=0)
    assert variance_K[:WIDTH].sum() == pytest.approx(variance_K[WIDTH:].sum(), rel=1e-4)
    alone = KINDS["sae"].space(pair.latents_EW[train_E], "max", threshold).apply(pair.latents_EW[train_E])
    middle = np.sqrt(alone.toarray().var(axis=0).sum() * DIMS)
    assert variance_K[:WIDTH].sum() == pytest.approx(middle, rel=1e-4)


def test_a_column_is_its_feature_over_its_scale():
    """But for the mean of a dimension, which the intercept takes."""
    _, pair = drawn("neither")
    space = kind("beside").space(pair, "max_beside_mean", "none")
    raw_EK = np.hstack([pair.latents_EW.toarray(), pair.hidden_ED])[:, space.columns_K] / space.scale_K
    raw_EK[:, WIDTH:] -= raw_EK[:, WIDTH:].mean(axis=0)
    np.testing.assert_allclose(space.apply(pair).toarray(), raw_EK, atol=2e-5)


def test_where_no_latent_fires_hidden_states_are_left():
    _, pair = drawn("neither")
    silent = Pair(sp.csr_array(pair.latents_EW.shape, dtype=np.float32), pair.hidden_ED)
    matrix_EK = kind("beside").space(silent, "max_beside_mean", "1.0").apply(silent).toarray()
    np.testing.assert_allclose(matrix_EK[:, 1:].std(axis=0), 1, rtol=1e-3)


def test_it_is_read_of_trained_models_and_saes_alone():
    saes = {"saes": "s", "passes": [{"1": ["64", "64_f"], "2": []}]}
    study = study_of(
        models={"m": saes, "r": {"control_of": "m", **saes}},
        saes={"s": {"train": {}}, "f": {"train": {"freeze": "all"}}},
        grid={"poolings": ["sum", "max"], "thresholds": ["none"], "selections": ["none"]},
        baselines={"beside": ["mean", "last"]},
    )
    assert [*kind("beside").places(study)] == [{"model": "m", "layer": "1", "width": "64"}]
    assert kind("beside").values(study)["pooling"] == [
        *("sum_beside_mean", "sum_beside_last", "max_beside_mean", "max_beside_last")
    ]
    study.baselines["beside"] = []
    assert not kind("beside").asked(study)
