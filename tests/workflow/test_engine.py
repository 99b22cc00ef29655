"""Runs of the tests' engine are what the command itself runs and prints."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from runs import make_study, snakemake, start

PASSING = r"Date: .*|Workflow ID: .*|Command: .*|\[\w+ \w+ +\d+ [\d:]+ \d+\]"  # what differs from run to run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_study(tmp_path_factory.mktemp("engine") / "study")


def said(printed: str) -> list[str]:
    """The words of each line, in an order of their own: both depend on the interpreter's hash seed."""
    return sorted(" ".join(sorted(re.split(r"[\s,;]+", line))) for line in re.sub(PASSING, "", printed).splitlines())


def test_the_command_plans_the_same(folder):
    printed = [said(snakemake(folder, "--dry-run", real=real)) for real in (True, False)]
    assert printed[0] == printed[1]
    assert any("extract" in line for line in printed[0])


def test_the_command_refuses_the_same(folder):
    printed = [snakemake(folder, "--config", "seed=x", fails=True, real=real) for real in (True, False)]
    assert said(printed[0]) == said(printed[1])
    assert "error: config key seed" in printed[0]


def test_a_kill_takes_the_jobs_along(folder):
    run = start(folder, "--cores", "1", "--until", "examples")
    log = folder / "logs/examples"
    while run.poll() is None and not log.exists():
        time.sleep(0.01)
    assert run.poll() is None
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(run.pid, 0)
            time.sleep(0.1)
