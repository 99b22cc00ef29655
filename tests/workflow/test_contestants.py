"""Frozen SAEs, sentence embeddings and attention probes, from the config to claims, beside an SAE that is trained."""

import json

import numpy as np
import polars as pl
import pytest
import tessera
import tiny
import yaml
from refusals import fails
from runs import change, jobs_of, make_study, snakemake
from tessera.explorer.pieces import grid_of
from transformers import AutoModel, AutoTokenizer

OTHERS = ["sentence embeddings", "token states, attention"]
FROZEN = ["frozen SAE", "SAE, frozen encoder"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of a trained SAE, two kinds of frozen ones, attention and an encoder of sentences; twice split."""
    folder = make_study(tmp_path_factory.mktemp("contestants") / "study")
    encoder = tiny.save_model("bert", folder / "encoder", seed=1)
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    parts = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{part}", "path": path} for part, path in parts]
    (encoder / "modules.json").write_text(json.dumps(modules))

    def edit(config):
        recipe = config["saes"]["trained"]["train"]
        config["saes"]["fixed"] = {"train": recipe | {"freeze": "all", "draws": 2}}
        config["saes"]["stuck"] = {"train": recipe | {"freeze": "encoder"}}
        config["models"] = {
            "bert": config["models"]["bert"] | {"passes": [{1: [64, "64_fixed", "64_stuck"]}], "token_states": [1]},
            "encoder": {"path": "encoder", "max_tokens": 8},
        }
        config["grid"] = {"poolings": ["sum"], "thresholds": ["none", 1]}
        config["baselines"] = {"hidden": ["mean"], "tfidf": ["word"], "embeddings": ["encoder"], "tokens": ["heads1"]}
        config["transfers"] = {"move": {"sources": ["weather", "own"]}}
        config["repeats"] = 2

    change(folder, edit)
    snakemake(folder)
    return folder


def table(folder, name):
    return pl.read_parquet(folder / f"results/tables/{name}.parquet")


def test_each_kind_of_frozen_sae_is_a_contestant_and_none_is_the_sae(finished):
    scores = table(finished, "scores")
    found = scores.filter(features="sae").select("width", "frozen", "draw").unique().sort("width", "draw").rows()
    assert found == [("64", None, 0), ("64_fixed", "all", 0), ("64_fixed", "all", 1), ("64_stuck", "encoder", 0)]
    assert scores.filter(pl.col("frozen").is_not_null(), pl.col("features") != "sae").is_empty()
    best = table(finished, "best")
    assert {*best["contestant"]} == {"SAE", "hidden states", *OTHERS, "TF-IDF", "text length", *FROZEN}
    assert {*best.filter(contestant="SAE")["width"]} == {"64"}
    assert {*best.filter(contestant="frozen SAE")["draws"]} == {2}
    assert {*best.filter(contestant="sentence embeddings")["model"]} == {"encoder"}


def test_the_sae_is_held_against_each_of_them(finished):
    claims = table(finished, "claims")
    for name in (*FROZEN, *OTHERS):
        rows = claims.filter(claim=f"SAE > {name}", split="test")
        assert {"weather", "own", "all together", "on these data sets"} == {*rows["on"]}
        each = rows.filter(pl.col("on").is_in(["weather", "own"]))
        assert {*each["right_draws"]} == ({2} if name == "frozen SAE" else {1}) and {*each["left_draws"]} == {1}
    moved = claims.filter(pl.col("on").str.starts_with("move"))
    zero_shot = {f"zero-shot SAE > zero-shot {name}" for name in (*FROZEN, "sentence embeddings")}
    assert zero_shot <= {*moved["claim"]}


def test_a_transfer_keeps_them_apart(finished):
    best = table(finished, "transfer_best")
    pairs = best.filter(features="sae").select("frozen", "width").unique().rows()
    assert {frozen for frozen, _ in pairs} == {None, "all", "encoder"}
    assert all(frozen == {"64": None, "64_stuck": "encoder"}.get(width, "all") for frozen, width in pairs)
    rows = best.filter(condition="source").group_by("source", "target", "features", "frozen", "repeat").len()
    assert {*rows["len"]} == {1} and {*rows["features"]} == {"sae", "hidden", "tfidf", "embeddings"}
    assert table(finished, "crossings").group_by("features", "frozen").len().sort("features", "frozen").rows() == [
        *(("embeddings", None, 2), ("hidden", None, 2), ("sae", None, 2), ("sae", "all", 2), ("sae", "encoder", 2)),
        ("tfidf", None, 2),
    ]


def test_the_quality_of_an_sae_says_what_was_frozen(finished):
    saes = table(finished, "saes").sort("width", "draw")
    assert saes.select("width", "draw", "frozen").rows() == [
        *(("64", 0, None), ("64_fixed", 0, "all"), ("64_fixed", 1, "all"), ("64_stuck", 0, "encoder")),
    ]
    assert saes["l0"].to_list() == pytest.approx([4] * 4, rel=0.5)
    warned = table(finished, "warnings")
    drawn = {*warned.filter(warning="drawn once")["where"]}
    assert drawn == {"bert, its SAEs", "bert, its frozen SAEs (encoder)"}
    assert not any("64_" in where for where in warned.filter(pl.col("warning").str.ends_with("latents"))["where"])


def test_the_explorer_knows_them(finished):
    tables = {name: finished / f"results/tables/{name}.parquet" for name in ("cells", "scores")}
    grid = grid_of(tables)[-1]["cells"].filter(features="sae")
    belongs = {"64": "SAE", "64_fixed": "frozen SAE", "64_stuck": "SAE, frozen encoder"}
    assert dict(grid.select("width", "contestant").iter_rows()) == belongs


def embedded_by_hand(folder, texts):
    """First token of each text alone, after the last block, of length 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = [tokenizer(text, truncation=True, max_length=8, return_tensors="pt") for text in texts]
    vectors = np.stack([model(**one).last_hidden_state[0, 0].detach().numpy() for one in inputs])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_embeddings_are_those_of_the_encoder(finished):
    files = sorted((finished / "results/embeddings/model=encoder/data=weather").glob("*/embeddings.parquet"))
    assert len(files) == 3  # shards, the shifted split in the last ones
    found = pl.concat(map(pl.read_parquet, files)).sort("example")
    examples = pl.read_parquet(finished / "results/examples/data=weather/examples.parquet").sort("example")
    wanted = embedded_by_hand(finished / "encoder", examples["text"])
    np.testing.assert_allclose(np.stack(found["embedding"].to_numpy()), wanted, atol=1e-5)
    datasets = table(finished, "datasets").filter(data="weather")
    assert {*datasets["truncated_encoder"]} == {found["truncated"].sum()} and found["truncated"].sum() > 0
    facts = table(finished, "provenance").filter(kind="model", name="encoder")
    assert [item for item in facts["item"]] == ["model.safetensors"]


def test_a_probe_on_embeddings_tells_new_texts_as_the_workflow_does(finished):
    cell = tessera.open(finished / "results").cell("embeddings/encoder/weather")
    told = cell.predictions.filter(repeat=0)
    texts = pl.read_parquet(finished / "results/examples/data=weather/examples.parquet").join(told, on="example")
    found = cell.predict(texts["text"].to_list())
    assert found["predicted"].to_list() == texts["predicted"].to_list()
    probability = np.stack(texts["probability"].to_numpy())
    np.testing.assert_allclose(found.select("^probability_.*$").to_numpy(), probability, atol=1e-6)


def test_what_says_how_texts_are_embedded_is_an_input(finished):
    assert jobs_of(finished) == {}
    config = finished / "encoder/1_Pooling/config.json"
    before = config.read_text()
    config.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    assert jobs_of(finished)["embed"] == 5 and "extract" not in jobs_of(finished)
    config.write_text(before)
    assert jobs_of(finished) == {}


def test_another_kind_of_freezing_computes_its_own_alone(finished):
    kept = (finished / "study.yaml").read_text()
    recipe = yaml.safe_load(kept)["saes"]["trained"]["train"]

    def edit(config):
        config["saes"]["held"] = {"train": recipe | {"freeze": "decoder"}}
        config["models"]["bert"]["passes"].append({1: ["64_held"]})

    change(finished, edit)
    jobs = jobs_of(finished, "--", "results/tables/scores.parquet")
    (finished / "study.yaml").write_text(kept)
    assert (jobs["train_sae"], jobs["probe_sae"], jobs["extract"]) == (1, 2, 5) and "embed" not in jobs


def test_token_states_are_the_tokens_of_the_hidden_states(finished):
    place = "model=bert/data=weather"
    tokens = pl.scan_parquet(finished / f"results/token_states/{place}/shard=*/layer=1.parquet")
    found = tokens.group_by("example").len().sort("example").collect()
    hidden = pl.scan_parquet(finished / f"results/activations/{place}/pass=0/shard=*/hidden/layer=1.parquet")
    assert found.rows() == hidden.select("example", "tokens").sort("example").collect().rows()
    scores = table(finished, "scores").filter(features="tokens")
    assert {*scores.select("probe", "pooling", "layer", "n_features").rows()} == {("attention", "heads1", 1, 32)}


def test_an_attention_probe_tells_no_new_texts(finished):
    cell = tessera.open(finished / "results").cell("tokens/bert/1/weather")
    fails(lambda: cell.predict(["the cat"]), "tokens/bert/1/weather/heads1/attention", "weights of linear probes alone")


def test_who_asks_for_token_states_later_keeps_all_that_is_there(finished):
    kept = (finished / "study.yaml").read_text()
    change(finished, lambda config: config["models"]["bert"].update(token_states=[]))
    without = jobs_of(finished)
    (finished / "study.yaml").write_text(kept)
    assert "tables" in without and not {"extract", "token_states", "pool", "probe_sae", "probe_hidden"} & {*without}
    assert jobs_of(finished) == {}
