"""The real workflow run by tests: its data, its command, what it plans, what it leaves."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import tiny
import yaml
from engine import Run

ROOT = Path(__file__).parents[1]
ARGUMENTS = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "study.yaml"]
WAIT = 300  # seconds
CELLS = "results/probes/features=sae/model=bert/layer=1/width=64/data=weather"
CELL = f"{CELLS}/pooling=sum/threshold=1.0/selection=none/probe=logistic/scores.parquet"


def texts(name: str, size: int, seed: int) -> pl.DataFrame:
    """Made-up word lists: two words tell the classes apart, most of the time."""
    generator = np.random.default_rng(seed)
    label = generator.integers(2, size=size)
    rows = [list(generator.choice(tiny.WORDS, size=generator.integers(3, 12))) for _ in range(size)]
    for row, truth in zip(rows, label, strict=True):
        row[0] = ("rain", "moon")[truth if generator.random() < 0.9 else 1 - truth]
    ids = [f"{name}-{index}" for index in range(size)]
    return pl.DataFrame(
        {"key": ids, "sentence": [" ".join(row) for row in rows], "class": np.array(["wet", "dry"])[label]}
    )


def make_study(folder: Path) -> Path:
    """A study, not run: a model, its control, two data sets and a config."""
    folder.mkdir()
    tiny.save_model("bert", folder / "bert")
    texts("w", 120, 0).write_csv(folder / "weather.csv")
    texts("s", 40, 1).write_ndjson(folder / "shifted.jsonl")
    texts("o", 90, 2).with_columns(part=pl.Series(["train"] * 60 + ["test"] * 30)).write_parquet(folder / "own.parquet")
    columns = {"text": "sentence", "label": "class", "id": "key"}
    config = {
        "seed": 3,
        "models": {
            "bert": {"path": "bert", "max_tokens": 16, "saes": "trained", "passes": [{1: [64], 2: []}]},
            "random": {"control_of": "bert", "max_tokens": 16, "passes": [{1: []}]},
        },
        "saes": {
            "trained": {"train": {"texts": ["weather", "own"], "k": 4, "tokens": 1024, "steps": 8, "batch_tokens": 64}}
        },
        "datasets": {
            "weather": {"path": "weather.csv", **columns, "shifts": {"late": {"path": "shifted.jsonl"}}},
            "own": {"path": "own.parquet", **columns, "split": "part"},
        },
        "shard_size": 70,
        "grid": {"poolings": ["sum", "max"], "thresholds": ["none", 1, "q50"], "selections": ["none", "anova-4"]},
        "probe": {"C": [0.1, 1], "folds": 3, "resamples": 100},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return folder


def run(folder: Path, log: IO, *arguments: str, real: bool = False) -> Run | subprocess.Popen:
    """Start the workflow on the study in `folder`: a fork of the tests' engine, or `real`, a new interpreter."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if real:
        command = [sys.executable, "-m", "snakemake", *ARGUMENTS, *arguments]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    return Run([*ARGUMENTS, *arguments], folder, environment, log.fileno())


def start(folder: Path, *arguments: str, real: bool = False) -> Run | subprocess.Popen:
    """The workflow on the study in `folder`, in a process group of its own, so that its jobs die with it."""
    with (folder / "run.log").open("w") as log:
        return run(folder, log, *arguments, real=real)


def snakemake(folder: Path, *arguments: str, fails: bool = False, real: bool = False) -> str:
    """Run the workflow on the study in `folder` to the end; what it printed."""
    with tempfile.TemporaryFile("w+") as log:
        failed = run(folder, log, "--cores", "2", *arguments, real=real).wait() != 0
        log.seek(0)
        printed = log.read()
    assert failed == fails, printed
    return printed


def until(condition, process: Run) -> bool:
    """Wait for `condition` while `process` runs; did it come true?"""
    started = time.monotonic()
    while process.poll() is None and time.monotonic() - started < WAIT:
        if condition():
            return True
        time.sleep(0.05)
    return False


TARGETS = ("total", "all", "cell", "compare", "learning_curve", "export", "neuronpedia")
SHOWN = ("study", "explorer", "home")  # what nearly every change ends in


def jobs_of(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs that a run would do, by rule, targets apart."""
    printed = snakemake(folder, "--dry-run", *arguments)
    found = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    return {rule: int(count) for rule, count in found.items() if rule not in TARGETS}


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """The same without those that show a study."""
    return {rule: count for rule, count in jobs_of(folder, *arguments).items() if rule not in SHOWN}


def change(folder: Path, edit) -> None:
    """Apply `edit` to the study's config."""
    config = yaml.safe_load((folder / "study.yaml").read_text())
    edit(config)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
