"""Killed runs, full disks, damaged shards, too little memory: nothing half-written looks finished, and it goes on."""

import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import tiny
from runs import CELL, change, planned, snakemake, start, texts, until
from tessera.activations.extraction import extract
from tessera.base.errors import TesseraError
from tessera.base.files import read_parquet, write_parquet
from tessera.base.script import script


def test_two_runs_at_once(copy):
    """The second is refused, the first goes on."""
    first = start(copy, "--cores", "1", "--forcerun", "extract")
    assert until(lambda: any((copy / ".snakemake/locks").glob("*")), first)
    printed = snakemake(copy, "--forcerun", "extract", fails=True)
    assert "Directory cannot be locked. Please make sure that no other Snakemake process" in printed
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()


def test_data_that_change_under_a_running_study_are_noticed(copy):
    """Nothing is merged from the old data; the next run computes what follows from the new."""
    (copy / CELL).unlink()
    shutil.rmtree(copy / "logs/probe_sae")
    first = start(copy, "--cores", "1")
    assert until((copy / "logs/probe_sae").exists, first)  # the cell's job begins, its tables are still to come
    texts("w", 120, 5).write_csv(copy / "weather.csv")
    assert first.wait() != 0
    printed = (copy / "run.log").read_text()
    assert re.search(
        r"tables: error: weather.csv has changed since results/examples/data=weather/\S+ was read", printed
    )
    assert not (copy / "results/tables/scores.parquet").exists()
    assert planned(copy)["examples"] == 1


def test_a_data_file_that_is_touched_is_no_change(copy):
    (copy / CELL).unlink()
    os.utime(copy / "weather.csv")
    snakemake(copy)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_shard_is_named_with_what_rebuilds_it(copy, damage):
    shard = copy / "results/activations/model=bert/data=own/pass=0/shard=0"
    file = shard / "latents/layer=1/width=64.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content[:-30] if damage == "cut" else content)
    change(copy, lambda config: config["grid"]["poolings"].append("last"))
    printed = snakemake(copy, "--until", "pool", fails=True)
    found = re.search(r"pool: error: (\S+) cannot be read .*to rebuild it: (rm -r \S+), then", printed)
    assert found[1] == str(file.relative_to(copy))
    subprocess.run(found[2], shell=True, cwd=copy, check=True)
    assert planned(copy, "--until", "pool") == {"extract": 1, "pool": 1}


def test_a_disk_that_is_full(copy):
    """A file system of 8 KB under the activations: one line, nothing that looks finished, and room mends it."""
    place = copy / "results/activations/model=bert/data=own/pass=0"
    shutil.rmtree(place)
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (not root)")
    target = "results/activations/model=bert/data=own/pass=0/shard=0"
    try:
        printed = snakemake(copy, "--", target, fails=True)
        left = list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert re.search(r"extract: error: .*No space left on device.*\(log: logs/extract/\S+shard=0.log\)", printed)
    assert left == []
    snakemake(copy, "--", target)
    assert (copy / target / "latents/layer=1/width=64.parquet").exists()


def test_a_write_that_fails(folders, tmp_path):
    """By a limit on the size of files, which needs no root."""
    sae = tiny.save_sae(tmp_path / "sae", "jumprelu", width=64)
    from tessera.saes.preparing import prepare

    prepare(sae, tmp_path / "encoder.safetensors", width=64, layer=1)
    model = tiny.load(folders["bert"])
    examples = texts("w", 200, 0).select(text="sentence").with_row_index("example")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            extract(
                model,
                examples,
                {(1, "64"): tmp_path / "encoder.safetensors"},
                [1],
                tmp_path / "shard",
                max_tokens=16,
                activation_dtype="float16",
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["encoder.safetensors", "sae"]


class Engine:
    """What a script gets from Snakemake, as far as `script` looks at it."""

    def __init__(self, log: Path):
        self.log, self.rule = [str(log)], "probe"


def too_much():
    return bytearray(2**62)


def too_much_for_torch():
    import torch

    return torch.empty(2**55)


@pytest.mark.parametrize("ask", [too_much, too_much_for_torch])
def test_a_worker_out_of_memory(tmp_path, capfd, ask):
    with pytest.raises(SystemExit) as ended, script(Engine(tmp_path / "probe.log")):
        ask()
    assert ended.value.code == 1
    printed = capfd.readouterr().err.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith("probe: error: out of memory; give the rule more (--set-resources probe:mem_mb=")
    assert printed[0].endswith(f"(log: {tmp_path}/probe.log)")
    assert "Traceback" in (tmp_path / "probe.log").read_text()


def test_any_other_failure_is_one_line_and_its_traceback_is_in_the_log(tmp_path, capfd):
    with pytest.raises(SystemExit), script(Engine(tmp_path / "probe.log")):
        raise KeyError("no\nsuch")
    assert capfd.readouterr().err == f"probe: error: KeyError: 'no\\nsuch' (log: {tmp_path}/probe.log)\n"
    assert "Traceback" in (tmp_path / "probe.log").read_text()


def test_a_results_folder_that_is_read_only(copy):
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(copy / "results")]  # binds root too, as no mode bit does
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (not root)")
    try:
        printed = snakemake(copy, fails=True)
        assert planned(copy)["probe_sae"] == 2  # a dry run writes nothing
    finally:
        subprocess.run(["umount", str(copy / "results")], check=True)
    assert re.search("^error: results cannot be written to$", printed, re.MULTILINE)
    assert "Traceback" not in printed


def test_a_second_writer_leaves_the_first_nothing_to_finish(tmp_path):
    """A job that outlives its killed controller cannot put its half of a file under the final name."""
    from tessera.base.files import atomic

    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError), atomic(path) as first:
        first.write_text("half")
        with atomic(path) as second:
            second.write_text("whole")
    assert path.read_text() == "whole"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_damaged_file_of_one_is_removed_alone(tmp_path, place):
    path = tmp_path / "features.parquet"
    write_parquet(path, texts("w", 200, 0))
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(TesseraError, match=rf"rm -r {path}, then"):
        read_parquet(path, ["sentence"])
        read_parquet(path, ["key"])
        read_parquet(path, ["class"])
