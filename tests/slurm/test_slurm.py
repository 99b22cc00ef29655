"""A study through profiles/slurm on a real Slurm: partitions, GPUs, retries, a cancelled job, a killed controller.

On the machine's own Slurm where one answers, else on one of this node alone, started where Slurm is installed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import machine
import polars as pl
import pytest
import runs
from cluster import NoCluster, answers, cluster
from runs import ROOT, change, make_study

start, snakemake = partial(runs.start, real=True), partial(runs.snakemake, real=True)
PROFILE = ROOT / "profiles/slurm"
# A stand-in for a cluster that kills jobs for memory, as this Slurm may not: whatever asks for 2000 MB or less dies.
OUT_OF_MEMORY = """\
if [ "${SLURM_MEM_PER_NODE:-9999}" -le 2000 ]; then kill -9 $PPID; fi
"""
ARGUMENTS = ("--profile", str(PROFILE), "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "15")
LIMIT = 600  # seconds


def misfit() -> str | None:
    """What the Slurm that answers lacks of what profiles/slurm asks for."""
    command = ["sinfo", "--noheader", "--format", "%R %m %G %T"]
    nodes = [line.split() for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]
    memory = {name: int(size.rstrip("+")) for name, size, *_ in nodes}
    gpus = {name for name, _, gres, _ in nodes if "gpu" in gres}
    if not {"cpu", "gpu"} <= set(memory) or "gpu" not in gpus:
        return f"Slurm has no partitions cpu and gpu, the latter with a GPU, as profiles/slurm asks for ({nodes})"
    if min(memory["cpu"], memory["gpu"]) < 8000:
        return "the nodes have less than 8000 MB"
    return None


@pytest.fixture
def slurm() -> Iterator[None]:
    with ExitStack() as stack:
        if not answers():
            try:
                stack.enter_context(cluster())
            except NoCluster as error:
                machine.lacks(str(error))
        if reason := misfit():
            machine.lacks(reason)
        yield


@dataclass
class Job:
    """What squeue says of a job; `rule` is what the plugin puts into its comment."""

    number: str
    name: str
    partition: str
    memory: str
    gpus: str
    state: str
    rule: str


class Queue:
    """Every job of the study in `folder` that squeue has shown so far: it forgets finished ones after a while."""

    def __init__(self, folder: Path):
        self.folder, self.jobs = str(folder), {}

    def look(self) -> dict[str, Job]:
        columns = "WorkDir:|,JobID:|,Name:|,Partition:|,MinMemory:|,tres-per-job:|,State:|,Comment:"
        command = ["squeue", "--me", "--noheader", "--states=all", "-O", columns]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found = [Job(*line.split("|")[1:]) for line in lines if line.split("|")[0] == self.folder]
        self.jobs |= {job.number: job for job in found}
        return self.jobs

    def of(self, rule: str) -> list[Job]:
        """The jobs of a rule or group, in the order of submission."""
        found = [job for job in self.look().values() if job.rule.startswith(f"rule_{rule}_")]
        return sorted(found, key=lambda job: int(job.number))


def watch(process: subprocess.Popen, queue: Queue, until: Callable[[], bool] = lambda: False) -> None:
    """Look at the queue until the controller ends, or `until` comes true."""
    started = time.monotonic()
    while process.poll() is None and not until():
        assert time.monotonic() - started < LIMIT, queue.look()
        queue.look()
        time.sleep(0.5)


def running(queue: Queue, rule: str) -> str | None:
    return next((job.number for job in queue.of(rule) if job.state == "RUNNING"), None)


def small_study(folder: Path) -> Path:
    """The tests' study with one data set and one layer: each Slurm job costs ten seconds."""

    def edit(config):
        del config["models"]["random"], config["datasets"]["own"], config["datasets"]["weather"]["shifts"]
        config["models"]["bert"]["passes"] = [{1: [64]}]
        config["saes"]["trained"]["train"]["texts"] = ["weather"]
        config["shard_size"] = 1000

    change(make_study(folder), edit)
    return folder


def test_a_study_on_slurm(slurm, tmp_path):
    """One study from an empty folder: a job dies for memory, one is cancelled, the controller is killed; it resumes."""
    folder = small_study(tmp_path / "study")
    queue = Queue(folder)
    (folder / "memory.sh").write_text(OUT_OF_MEMORY)
    controller = start(folder, *ARGUMENTS, "--precommand", f"sh {folder}/memory.sh")
    log = folder / "run.log"

    watch(controller, queue, lambda: running(queue, "prepare_sae"))
    assert controller.poll() is None, log.read_text()
    subprocess.run(["scancel", running(queue, "prepare_sae")], check=True)

    watch(controller, queue, lambda: running(queue, "extract"))
    assert controller.poll() is None, log.read_text()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    left = running(queue, "extract")
    assert left, "the job outlives its controller"

    examples, prepared = queue.of("examples"), queue.of("prepare_sae")
    assert [(job.memory, job.state) for job in examples] == [("2000M", "FAILED"), ("4000M", "COMPLETED")]
    assert [(job.memory, job.state) for job in prepared] == [("4000M", "CANCELLED"), ("8000M", "COMPLETED")]

    # What docs/cluster.md says to do after that.
    subprocess.run(["scancel", "--name", queue.jobs[left].name], check=True)
    snakemake(folder, *ARGUMENTS, "--unlock")
    controller = start(folder, *ARGUMENTS)
    watch(controller, queue)
    assert controller.wait() == 0, log.read_text()

    done = {job.rule.split("_wildcards_")[0]: job for job in queue.look().values() if job.state == "COMPLETED"}
    gpu = {rule for rule, job in done.items() if (job.partition, job.gpus) == ("gpu", "gres:gpu:1")}
    assert gpu == {"rule_residuals", "rule_train_sae", "rule_extract"}
    assert {(job.partition, job.gpus) for rule, job in done.items() if rule not in gpu} == {("cpu", "N/A")}
    assert len(queue.of("train_sae")) == 1, "what was finished before the kill stays"
    assert [job.memory for job in queue.of("cells")] == ["4000M"], "cells share a job, and take turns in it"
    assert len(queue.of("results")) == 1
    assert {"sae", "hidden", "tfidf"} <= set(pl.read_parquet(folder / "results/tables/scores.parquet")["features"])
    assert "Nothing to be done" in snakemake(folder)
    assert not list((folder / "results").rglob("*.part"))
