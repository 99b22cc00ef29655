"""A study killed in every stage and resumed."""

import os
import random
import re
import signal
import time
from functools import partial
from pathlib import Path

from runs import make_study, planned, snakemake, start, until

# A kill in each, and two more in the stage that takes longest.
KILLED = ["examples", "residuals", "train_sae", "prepare_sae", *["extract"] * 3, "pool", "probe_sae", "tables"]


def results(folder: Path) -> dict[str, bytes]:
    """Every file under its final name, but for the engine's measurements of time."""
    files = [file for file in (folder / "results").rglob("*") if file.is_file()]
    names = {str(file.relative_to(folder)): file for file in files}
    passing = re.compile(r"\.part(/|$)|/checkpoint/|^results/benchmarks/")
    return {name: file.read_bytes() for name, file in names.items() if not passing.search(name)}


def started(folder: Path, stage: str, since: float) -> bool:
    """Has a job of `stage` opened its log?"""
    logs = [folder / f"logs/{stage}.log", *(folder / "logs" / stage).rglob("*.log")]
    return any(log.exists() and log.stat().st_mtime > since for log in logs)


def test_a_study_killed_in_every_stage_and_resumed_is_the_same_bytes(study, tmp_path):
    """By SIGKILL of the engine and its jobs, at a random time after a job of the stage, forced, has begun."""
    folder, expected = make_study(tmp_path / "killed"), results(study)
    generator = random.Random(0)
    for stage in KILLED:
        process, begun = start(folder, "--cores", "2", "--nolock", "--forcerun", stage), time.time()
        assert until(partial(started, folder, stage, begun), process), (folder / "run.log").read_text()
        time.sleep(min(generator.expovariate(2), 0.5))  # longer, and the last stage may be over
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = results(folder)
        assert {name for name in found if found[name] != expected[name]} == set(), stage
    before = {name: (folder / name).stat().st_mtime_ns for name in results(folder)}
    snakemake(folder, "--unlock")
    snakemake(folder)
    assert results(folder) == expected
    assert not list((folder / "results").rglob("*.part"))
    again = {name for name in before if (folder / name).stat().st_mtime_ns != before[name]}
    assert not any(name.startswith(("results/examples", "results/saes", "results/activations")) for name in again)
    assert planned(folder) == {}
