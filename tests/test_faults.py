"""A killed run leaves nothing that looks finished, and goes on where it was."""

import os
import random
import signal
import time
from pathlib import Path

import polars as pl
import pytest
import tiny
import yaml
from runs import snakemake, start

ROUNDS, SHARDS, EXAMPLES = 10, 4, 30


def make_study(folder: Path, sae: Path) -> Path:
    """A model, one SAE and a data set of several shards."""
    folder.mkdir()
    tiny.save_model("bert", folder / "bert")
    generator = random.Random(0)
    rows = [generator.choices(tiny.WORDS, k=generator.randint(3, 12)) for _ in range(SHARDS * EXAMPLES)]
    labels = ["wet" if number % 2 else "dry" for number in range(len(rows))]
    pl.DataFrame({"text": [" ".join(row) for row in rows], "label": labels}).write_csv(folder / "rows.csv")
    config = {
        "models": {"bert": {"path": "bert", "max_tokens": 16, "saes": "own", "passes": [{1: [96]}]}},
        "saes": {"own": {"path": str(sae)}},
        "datasets": {"rows": {"path": "rows.csv"}},
        "shard_size": EXAMPLES,
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in (folder / "results" / "activations").rglob("*.parquet") if ".part" not in str(file)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("faults")
    tiny.save_sae(root / "sae", "jumprelu", width=96)
    folder = make_study(root / "undisturbed", root / "sae")
    snakemake(folder, "activations")
    return folder


def test_activations_killed_at_random_and_resumed_are_the_same_bytes(undisturbed):
    folder, expected = make_study(undisturbed.parent / "killed", undisturbed.parent / "sae"), contents(undisturbed)
    generator = random.Random(0)
    for _ in range(ROUNDS):
        process = start(folder, "--cores", "1", "--nolock", "activations")
        time.sleep(generator.uniform(1, 8))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for name, found in contents(folder).items():  # whatever has its final name is whole
            assert found == expected[name]
    before = {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}
    snakemake(folder, "--unlock")
    snakemake(folder, "activations")
    assert contents(folder) == expected
    assert not list((folder / "results").rglob("*.part"))
    redone = {name for name in before if (folder / name).stat().st_mtime_ns != before[name]}
    assert len({name.split("shard=")[1].split("/")[0] for name in redone}) <= 1  # the one that the last kill hit
    assert "Nothing to be done" in snakemake(folder, "activations")
