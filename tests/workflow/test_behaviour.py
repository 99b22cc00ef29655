"""Behaviour through the real workflow: one model answers, another predicts it, beside the controls."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
import yaml
from runs import snakemake


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A causal model answers 120 prompts; two of them ask the same thing of two names, and stay together."""
    folder = tmp_path_factory.mktemp("behaviour")
    tiny.save_model("llama", folder / "big", causal=True)
    tiny.save_model("bert", folder / "small")
    generator = np.random.default_rng(0)
    words = [" ".join(generator.choice(tiny.WORDS, size=6)) for _ in range(60)]
    rows = [
        {"key": f"{n}-{part}", "asked": n, "prompt": words[n] + part} for n in range(60) for part in (" rain", " moon")
    ]
    frame = pl.DataFrame(rows).with_columns(good=pl.lit("the hill"), bad=pl.lit("a river"), gold=pl.lit("good"))
    frame.write_csv(folder / "prompts.csv")
    columns = {"path": "prompts.csv", "text": "prompt", "id": "key", "group": "asked"}
    recorded = pl.read_csv(folder / "prompts.csv").with_columns(did=pl.Series(["went", "stayed"] * 60))
    recorded.write_csv(folder / "recorded.csv")
    config = {
        "models": {
            "small": {"path": "small", "max_tokens": 16, "saes": "trained", "passes": [{1: [32]}]},
            "small-random": {"control_of": "small", "passes": [{1: []}]},
            "big": {"path": "big", "max_tokens": 16, "passes": [{2: []}]},
        },
        "saes": {"trained": {"train": {"texts": ["acts"], "k": 4, "tokens": 1024, "steps": 4, "batch_tokens": 64}}},
        "datasets": {
            "acts": {**columns, "answered": {"model": "big", "choices": ["good", "bad"]}},
            "noted": {**columns, "path": "recorded.csv", "label": "did", "behaviour_of": "someone"},
        },
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "baselines": {"hidden": ["mean"], "tfidf": ["word"]},
        "probe": {"C": [0.1, 1], "folds": 2, "resamples": 100},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    return folder


def test_answers_are_the_labels(study):
    answers = pl.read_parquet(study / "results/answers/data=acts/answers.parquet")
    best = answers["log_probability"].list.arg_max().to_list()
    assert answers["answer"].to_list() == [("good", "bad")[one] for one in best]
    examples = pl.read_parquet(study / "results/examples/data=acts/examples.parquet")
    assert dict(examples.select("id", "label").iter_rows()) == dict(answers.select("id", "answer").iter_rows())


def test_prompts_asked_twice_stay_on_one_side(study):
    examples = pl.read_parquet(study / "results/examples/data=acts/examples.parquet")
    asked = examples.with_columns(asked=pl.col("id").str.split("-").list.first())
    assert asked.group_by("asked").agg(pl.col("split").n_unique())["split"].to_list() == [1] * 60
    assert asked.group_by("asked").agg(pl.col("group").n_unique())["group"].to_list() == [1] * 60


def test_everyone_stands_in_one_table(study):
    table = pl.read_parquet(study / "results/tables/behaviour.parquet")
    roles = {data: dict(rows.select("contestant", "role").iter_rows()) for (data,), rows in table.group_by("data")}
    assert roles["acts"] == {
        "SAE of small": "source",
        "hidden states of small": "source",
        "hidden states of big": "target",
        "hidden states of small-random": "control",
        "TF-IDF": "control",
        "text length": "control",
    }
    assert roles["noted"]["hidden states of big"] == "source"
    claims = pl.read_parquet(study / "results/tables/claims.parquet")
    whole = claims.filter(claim="SAE of small predicts behaviour > all controls")
    assert sorted(whole["on"]) == ["acts", "noted"]
    assert "holds" not in whole.filter(on="acts")["verdict"]  # a random model's answers
    assert (study / "results/figures/behaviour.png").stat().st_size > 1000


def test_the_answers_are_made_once(study):
    config = yaml.safe_load((study / "study.yaml").read_text())
    config["grid"]["thresholds"].append(1.0)
    (study / "other.yaml").write_text(yaml.safe_dump(config))
    printed = snakemake(study, "--dry-run", "--configfile", "other.yaml")
    assert "probe_sae" in printed and "answers" not in printed and "extract" not in printed
