"""What the engine itself costs in a large study: planning, a rerun that finds nothing to do, and a job's overhead.

python benchmarks/scale.py plan --cells 20000
python benchmarks/scale.py again --cells 5000
python benchmarks/scale.py run --cells 200

The rules are the real ones, the cells are fake: models and SAEs that are configs without weights, tiny data sets,
and for `again` and `run` a copy of the workflow whose scripts write empty files. `--per-job` is how many cells
(poolings × thresholds) share a probe job, `--layers`, `--widths` and `--data` are the other axes of one model.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import yaml

ROOT = Path(__file__).parents[1]
FAKE_SCRIPT = """
from pathlib import Path
for file in snakemake.output:
    path = Path(file)
    path.mkdir(parents=True) if "/shard=" in file and not path.suffix else path.touch()
"""


def thresholds(number: int) -> list:
    return ["none", *(round(0.1 * step, 1) for step in range(1, number))]


def make_study(folder: Path, cells: int, *, layers: int, widths: int, data: int, per_job: int) -> int:
    """Write a study of about `cells` SAE cells to `folder`; how many there are."""
    poolings = ["sum", "mean", "max", "last", "count"][: max(1, per_job // 5)]
    grid = {"poolings": poolings, "thresholds": thresholds(per_job // len(poolings))}
    sizes = [str(512 * 2**step) for step in range(widths)]
    jobs = -(-cells // per_job)
    models = {f"model-{number}": layers * widths * data for number in range(-(-jobs // (layers * widths * data)))}
    for layer in range(layers):
        for size in sizes:
            sae = folder / f"saes/{layer}/{size}"
            sae.mkdir(parents=True)
            (sae / "cfg.json").write_text("{}")
            (sae / "sae_weights.safetensors").touch()
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text(json.dumps({"num_hidden_layers": layers}))
    rows = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(60))
    (folder / "rows.csv").write_text("text,label\n" + rows)
    passes = [{layer: [int(size) for size in sizes] for layer in range(layers)}]
    study = {
        "models": {name: {"path": "model", "saes": "own", "passes": passes} for name in models},
        "saes": {"own": {"path": "saes/{layer}/{width}"}},
        "datasets": {f"data-{number}": {"path": "rows.csv"} for number in range(data)},
        "grid": grid,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    per_job = len(poolings) * len(grid["thresholds"])
    return len(models) * layers * widths * data * per_job


def fake_workflow(folder: Path) -> Path:
    """A copy of the workflow whose scripts write empty files; its Snakefile."""
    shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "profiles/default", folder / "profiles/default")
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copytree(ROOT / "envs", folder / "envs")
    for script in (folder / "workflow/scripts").glob("*.py"):
        script.write_text(FAKE_SCRIPT)
    return Path(shutil.copy(ROOT / "Snakefile", folder))


def snakemake(study: Path, snakefile: Path, *arguments: str) -> dict:
    """Run the engine on a study: wall and CPU seconds of it and its jobs, its peak memory, what it printed."""
    command = [sys.executable, "-m", "snakemake", "-s", snakefile, "--configfile", "study.yaml", *arguments]
    before, wall = os.times(), time.perf_counter()
    with (study / "printed").open("w+") as printed:
        process = subprocess.Popen(command, cwd=study, stdout=printed, stderr=subprocess.STDOUT)
        peak = watch(process)
        wall, after = time.perf_counter() - wall, os.times()
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(text[-3000:])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": wall, "cpu_s": cpu, "peak_mib": peak, "printed": text}


def watch(process: subprocess.Popen) -> float:
    """Wait for the end; the peak resident memory of the process in MiB."""
    peak = 0.0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(found[1]) / 1024) if found else peak
        time.sleep(0.05)
    return peak


def jobs(printed: str) -> int:
    return int(re.findall(r"^total +(\d+)$", printed, re.MULTILINE)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["plan", "again", "run"])
    parser.add_argument("--cells", type=int, default=20000)
    parser.add_argument("--per-job", type=int, default=25)
    for axis, size in {"layers": 10, "widths": 4, "data": 10}.items():
        parser.add_argument(f"--{axis}", type=int, default=size)
    options = vars(parser.parse_args())
    what = options.pop("what")
    with tempfile.TemporaryDirectory() as folder:
        study, workflow = Path(folder) / "study", Path(folder) / "workflow"
        study.mkdir()
        workflow.mkdir()
        cells = make_study(study, options.pop("cells"), **options)
        if what == "plan":
            found = snakemake(study, ROOT / "Snakefile", "--dry-run", "--quiet", "rules")
            print(f"{cells} cells, {jobs(found['printed'])} jobs planned:", end=" ")
        else:
            snakefile = fake_workflow(workflow)
            found = snakemake(study, snakefile, "--cores", "2")
            number = jobs(found["printed"])
            if what == "again":
                found = snakemake(study, snakefile, "--cores", "2")
                assert "Nothing to be done" in found["printed"], found["printed"]
            print(f"{cells} cells, {number} jobs {'found done' if what == 'again' else 'run'}:", end=" ")
            if what == "run":
                per_job, per_cell = found["cpu_s"] / number, found["cpu_s"] / cells
                print(f"{1000 * per_job:.0f} ms of CPU a job, {1000 * per_cell:.1f} a cell,", end=" ")
        print(f"{found['wall_s']:.1f} s, {found['cpu_s']:.1f} s of CPU, {found['peak_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
