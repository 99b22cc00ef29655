"""Latents beside hidden states, and L1, added to a finished study: what is computed, what is claimed, what is told."""

import shutil

import numpy as np
import polars as pl
import pytest
import tessera
from runs import change, planned, snakemake
from sklearn.metrics import f1_score

MERGES = {"tables": 1, "claims": 1, "draw_tables": 1, "draw_claims": 1}
NEW = ["features", "model", "layer", "width", "pooling", "threshold", "selection", "probe"]


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """The study with both, once it has been seen that nothing else is planned."""
    folder = shutil.copytree(study, tmp_path_factory.mktemp("quiver") / "study")

    def edit(config):
        config["baselines"] = {"beside": ["mean"]}
        config["probes"] = {"l1": ["sae", "hidden"]}

    change(folder, edit)
    assert planned(folder) == {"probe_beside": 2, "probe_sae_l1": 2, "probe_hidden_l1": 6, **MERGES}
    snakemake(folder)
    assert planned(folder) == {}
    return folder


def test_cells_of_both_have_a_pooling_of_each(finished):
    scores = pl.read_parquet(finished / "results/tables/scores.parquet").filter(features="beside")
    assert {*scores["pooling"]} == {"sum_beside_mean", "max_beside_mean"} and {*scores["threshold"]} > {"none", "1.0"}
    assert {*scores["model"]} == {"bert"} and {*scores["selection"]} == {None}
    latents = pl.read_parquet(finished / "results/tables/scores.parquet").filter(features="sae", selection="none")
    both = scores.with_columns(pl.col("pooling").str.replace("_beside_mean", "")).join(
        latents.filter(probe="logistic"), on=["data", "pooling", "threshold", "split"], suffix="_latents"
    )
    assert len(both) and (both["n_features"] == both["n_features_latents"] + 32).all()


def test_claims_hold_each_new_contestant_against_others(finished):
    claims = pl.read_parquet(finished / "results/tables/claims.parquet").filter(on="weather", split="test")
    named = {*claims["claim"]}
    rivals = ("hidden states", "hidden states, L1", "TF-IDF", "text length")
    assert {f"SAE, L1 > {name}" for name in rivals} == {name for name in named if name.startswith("SAE, L1 >")}
    assert {"SAE > SAE, L1", "SAE > SAE beside hidden states", "SAE beside hidden states > hidden states"} < named


def test_the_quiver_is_what_other_code_makes_of_scores_and_predictions(finished):
    tables = finished / "results/tables"
    claims = pl.read_parquet(tables / "claims.parquet").filter(claim="with SAE > without SAE", split="test")
    scores = pl.read_parquet(tables / "scores.parquet").filter(~pl.col("control"), split="test")
    told = pl.read_parquet(tables / "predictions.parquet").filter(split="test")
    for data in ("weather", "own"):
        here, f1 = scores.filter(data=data).sort("cv_macro_f1", descending=True, maintain_order=True), []
        for side in (here, here.filter(~pl.col("features").is_in(["sae", "beside"]))):
            said = told.filter(data=data).join(side.head(1).select(NEW), on=NEW, nulls_equal=True)
            f1.append(f1_score(said["label"], said["predicted"], average="macro"))
        row = claims.row(by_predicate=pl.col("on") == data, named=True)
        assert row["difference"] == pytest.approx(f1[0] - f1[1])
        assert row["left_cells"] == len(here) and row["right_cells"] < row["left_cells"]


@pytest.mark.parametrize("name", ["beside/bert/1/64/weather/max_beside_mean/1.0", "sae/bert/1/64/own/sum/none/none/l1"])
def test_new_texts_are_told_as_in_the_workflow(finished, name):
    cell = tessera.open(finished / "results").cell(name)
    told = cell.predictions.filter(repeat=0)
    examples = pl.read_parquet(finished / f"results/examples/data={cell.place['data']}/examples.parquet")
    texts = examples.select("example", "text").join(told, on="example")
    found = cell.predict(texts["text"].to_list())
    assert found["predicted"].to_list() == texts["predicted"].to_list()
    probability = np.stack(texts["probability"].to_numpy())
    np.testing.assert_allclose(found.select("^probability_.*$").to_numpy(), probability, atol=1e-6)
