"""What reruns, by exact job counts on the real workflow: what a change touches, and nothing else."""

import os
import re
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
import tiny
from runs import CELL, ROOT, change, jobs_of, planned, snakemake, texts
from tessera import VERSIONS

MERGES = {"tables": 1, "claims": 1, "draw_tables": 1, "draw_claims": 1}
ANEW = {"provenance": 1, **MERGES}  # what is merged was computed from something else
PROBES = {"pool": 2, "probe_sae": 2, **MERGES}  # of the study's one SAE on its two data sets
SHARDS = 3 + 2  # of the two data sets


def test_a_second_run_does_nothing(study):
    assert jobs_of(study) == {}


def test_a_deleted_cell_is_one_job_and_the_merges(copy):
    (copy / CELL).unlink()
    assert {"explorer": 1, "home": 1}.items() <= jobs_of(copy).items()
    assert planned(copy) == {"probe_sae": 1, **MERGES}
    before = {file: file.read_bytes() for file in copy.glob("results/**/*.parquet")}
    snakemake(copy)
    assert (copy / CELL).exists()
    assert planned(copy) == {}
    assert {file: file.read_bytes() for file in before} == before


def test_one_cell_by_its_path(copy):
    assert planned(copy, "--force", "--", CELL) == {"probe_sae": 1}


@pytest.mark.parametrize(
    ("cell", "rule", "jobs"),
    [
        ("sae/bert/1/64/weather", "probe_sae", 1),
        ("sae/bert/1/64/weather/sum/1.0/none", "probe_sae", 1),
        ("sae/bert/1/64", "probe_sae", 2),
        ("hidden/random/1/own", "probe_hidden", 1),
        ("tfidf/own/word", "probe_tfidf", 1),
        ("length/own", "probe_length", 1),
    ],
)
def test_one_cell_by_a_short_name(copy, cell, rule, jobs):
    assert planned(copy, "--forcerun", rule, "--config", f"cell={cell}", "--", "cell") == {rule: jobs}
    assert planned(copy, "--config", f"cell={cell}", "--", "cell") == {}


@pytest.mark.parametrize("cell", ["sae/bert/1/6", "sae/bert/9", "bert/1/64", "", "/"])
def test_a_short_name_of_no_cell(study, cell):
    printed = snakemake(study, "--dry-run", "--config", f"cell={cell}", "--", "cell", fails=True)
    assert "names no cell; for example --config cell=sae/bert/1/64/" in printed


def test_two_cells_are_compared_and_one_has_its_curve(copy):
    """Targets of cells that a user names: no table of the study waits for them, or is made anew."""
    sides = ["left=sae/bert/1/64/weather/sum/none/none", "right=tfidf/weather/word"]
    assert planned(copy, "--config", *sides, "--", "compare") == {"compare_cells": 1}
    snakemake(copy, "--config", *sides, "--", "compare")
    (found,) = copy.glob("results/compare/left=sae,bert,1,64,weather,sum,none,none,logistic/right=*/differences.csv")
    rows = pl.read_csv(found)
    assert set(rows["metric"]) == {"macro_f1", "accuracy", "roc_auc", "average_precision"}
    scores = pl.read_parquet(copy / "results/tables/scores.parquet").filter(data="weather", split="test")
    here = rows.filter(split="test", metric="macro_f1").row(0, named=True)
    for side, cell in (("left", {"features": "sae", "pooling": "sum", "threshold": "none", "selection": "none"}),
                       ("right", {"features": "tfidf", "pooling": "word"})):  # fmt: skip
        assert here[side] == pytest.approx(scores.filter(repeat=0, **cell)["macro_f1"][0], abs=1e-5)
    snakemake(copy, "--config", "cell=tfidf/weather/word", "--", "learning_curve")
    curve = pl.read_csv(copy / "results/curves/cell=tfidf,weather,word,logistic/curve.csv").filter(
        fraction=1.0, split="test"
    )
    assert curve["macro_f1"][0] == pytest.approx(here["right"], abs=1e-5)
    assert (copy / "results/curves/cell=tfidf,weather,word,logistic/curve.png").stat().st_size > 1000
    assert planned(copy) == {}
    printed = snakemake(copy, "--dry-run", "--config", "left=tfidf/weather", "--", "compare", fails=True)
    assert "cells, not one; for example --config left=tfidf/weather/" in printed


TEXT = {"probe_tfidf": 1, "probe_length": 1}
TEXTS = {"examples": 1, "extract": 2 + 2, "pool": 1, "probe_sae": 1, "probe_hidden": 3, **TEXT, **ANEW}
EDITS = {
    "threshold": (lambda config: config["grid"]["thresholds"].append("q90"), {"probe_sae": 2, **MERGES}),
    "selection": (lambda config: config["grid"]["selections"].append("anova-8"), {"probe_sae": 2, **MERGES}),
    "pooling": (lambda config: config["grid"]["poolings"].append("last"), PROBES),
    "probe seed": (
        lambda config: config["probe"].update(seed=9),
        {"probe_sae": 2, "probe_hidden": 6, "probe_tfidf": 2, "probe_length": 2, **MERGES},
    ),
    "folds": (
        lambda config: config["probe"].update(folds=4),
        {"probe_sae": 2, "probe_hidden": 6, "probe_tfidf": 2, "probe_length": 2, **MERGES},
    ),
    "probes on a GPU": (
        lambda config: config["probe"].update(device="cuda"),
        {"probe_sae": 2, "probe_hidden": 6, "probe_tfidf": 2, "probe_length": 2, **MERGES},
    ),
    "data set": (lambda config: config["datasets"].update(more={**config["datasets"]["own"]}), TEXTS),
    "a pass with a layer": (
        lambda config: config["models"]["bert"]["passes"].append({3: []}),
        {"extract": SHARDS, "probe_hidden": 2, **ANEW},
    ),
    "a pass with an SAE": (
        lambda config: config["models"]["bert"]["passes"].append({3: [64]}),
        {"residuals": 1, "train_sae": 1, "prepare_sae": 1, "extract": SHARDS, "probe_hidden": 2, **PROBES, **ANEW},
    ),
    "a pass of the control": (
        lambda config: config["models"]["random"]["passes"].append({2: []}),
        {"extract": SHARDS, "probe_hidden": 2, **ANEW},
    ),
    "spelling": (lambda config: config["grid"].update(thresholds=["none", "1.00", "q50.0"]), {}),
}


@pytest.mark.parametrize(("edit", "jobs"), EDITS.values(), ids=EDITS)
def test_an_edited_config_costs_what_it_touches(copy, edit, jobs):
    change(copy, edit)
    assert planned(copy) == jobs


def test_changed_files_of_a_users_sae_are_noticed(copy):
    tiny.save_sae(copy / "mine", "jumprelu", width=64)
    change(copy, lambda config: config["saes"].update(trained={"path": "mine"}))
    snakemake(copy, "--until", "prepare_sae")
    encoder = next(copy.glob("results/saes/model=bert/layer=1/width=64/encoder.safetensors"))
    before = encoder.read_bytes()
    tiny.save_sae(copy / "again", "jumprelu", width=64, seed=1)
    (copy / "mine/sae_weights.safetensors").write_bytes((copy / "again/sae_weights.safetensors").read_bytes())
    snakemake(copy, "--until", "prepare_sae")
    assert encoder.read_bytes() != before


def test_without_its_activations_a_finished_study_stays_finished(copy):
    for cache in ("activations", "residuals"):
        shutil.rmtree(copy / "results" / cache)
    assert planned(copy) == {}


def test_data_that_are_touched_and_data_that_change(copy):
    os.utime(copy / "weather.csv")
    assert planned(copy) == {}
    texts("w", 120, 5).write_csv(copy / "weather.csv")
    trained = {
        "residuals": 1,
        "train_sae": 1,
        "prepare_sae": 1,
        **PROBES,
        **ANEW,
    }  # the SAE is trained on these texts too
    jobs = {"examples": 1, "extract": SHARDS + 3, "probe_hidden": 4 + 1, **TEXT, **trained}
    assert planned(copy) == jobs


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the workflow's own files, to edit."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("workflow", "profiles", "config", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    return Path(shutil.copy(ROOT / "Snakefile", folder))


def test_reformatted_and_touched_code_reruns_nothing(study, source):
    assert planned(study, "--snakefile", str(source)) == {}
    later = time.time() + 60
    for file in [source, *source.parent.glob("workflow/**/*")]:
        if file.suffix in (".py", ".smk") or file == source:
            file.write_text(file.read_text() + "\n# reformatted\n")
            os.utime(file, (later, later))
    assert planned(study, "--snakefile", str(source)) == {}


ENCODED = {"extract": SHARDS, "probe_hidden": 4, **PROBES, **ANEW}  # of the model that has an SAE
ACTIVATIONS = {"extract": 2 * SHARDS, "probe_hidden": 6, **PROBES, **ANEW}
STAGES = {
    "examples": {
        **{"examples": 2, "residuals": 1, "train_sae": 1, "prepare_sae": 1, "extract": 2 * SHARDS},
        **{"probe_hidden": 6, "probe_tfidf": 2, "probe_length": 2, **PROBES, **ANEW},
    },
    "weights": {"weights": 2, "residuals": 1, "train_sae": 1, "prepare_sae": 1, **ACTIVATIONS},
    "residuals": {"residuals": 1, "train_sae": 1, "prepare_sae": 1, **ENCODED},
    "train_sae": {"train_sae": 1, "prepare_sae": 1, **ENCODED},
    "prepare_sae": {"prepare_sae": 1, **ENCODED},
    "activations": ACTIVATIONS,
    "features": PROBES,
    "probes": {"probe_sae": 2, "probe_hidden": 6, "probe_tfidf": 2, "probe_length": 2, **MERGES},
    "tables": ANEW,
    "claims": {"claims": 1, "draw_claims": 1},
    "figures": {"draw_tables": 1, "draw_claims": 1},
}


@pytest.mark.parametrize("stage", VERSIONS)
def test_a_raised_version_reruns_its_stage_and_what_follows(study, source, stage):
    file = source.parent / "workflow/scripts/tessera/__init__.py"
    before = file.read_text()
    file.write_text(re.sub(rf'"{stage}": (\d+)', lambda found: f'"{stage}": {int(found[1]) + 1}', before))
    try:
        assert planned(study, "--snakefile", str(source)) == STAGES.get(stage, {})  # the study has none of the others
    finally:
        file.write_text(before)
