"""The notebooks run, cell after cell, on a finished study."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tessera
from runs import snakemake

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(tessera.__file__).parents[1]


@pytest.mark.parametrize("name", sorted(file.name for file in (ROOT / "notebooks").glob("*.py")))
def test_a_notebook_runs(copy, name):
    if name == "use_a_probe.py":
        snakemake(copy, "export", "--config", "cell=sae/bert/1/64/own/max/1.0/none")
    environment = {**os.environ, "RESULTS": str(copy / "results"), "PYTHONPATH": str(SCRIPTS), "MPLBACKEND": "agg"}
    command = [sys.executable, str(ROOT / "notebooks" / name)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    wanted = {
        "read_a_study.py": "SAE > TF-IDF",
        "use_a_probe.py": "<probe sae/bert/1/64/own/max/1.0/none/logistic: dry, wet>",
    }
    assert wanted[name] in done.stdout
