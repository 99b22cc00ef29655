"""The workflow as others use it: a module of theirs, from a checkout or a repository; deployed; a package."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import yaml
from engine import Run
from machine import lacks
from runs import ROOT, make_study

OFFLINE = {"HF_HUB_OFFLINE": "1"}
SOURCE = (".gitignore", "Snakefile", "workflow", "config", "profiles", "envs", "pyproject.toml", "README.md", "LICENSE")
MODULE = """
module {name}:
    snakefile: "{snakefile}"
    config: config["{name}"]
    {prefix}

use rule * from {name} as {name}_*
"""
MAIN, THIN = ROOT / "workflow/Snakefile", ROOT / "Snakefile"


def module(name: str, snakefile: Path = MAIN, prefix: str = "") -> str:
    prefix = f'prefix: "{prefix}"' if prefix else ""
    return MODULE.format(name=name, snakefile=snakefile, prefix=prefix)


def run(folder: Path, *arguments: str, fails: bool = False, **environment: str) -> str:
    """Snakemake in `folder`, in an interpreter of its own where it needs an environment of its own; what it printed."""
    with tempfile.TemporaryFile("w+") as log:
        if environment:
            command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
            given = {"cwd": folder, "env": {**os.environ, **OFFLINE, **environment}, "stdout": log, "stderr": log}
            failed = subprocess.run(command, **given).returncode != 0
        else:
            failed = Run(["--cores", "2", *arguments], folder, {**os.environ, **OFFLINE}, log.fileno()).wait() != 0
        log.seek(0)
        printed = log.read()
    assert failed == fails, printed
    return printed


def small(study: dict) -> dict:
    """Of a study as much as has a job of every kind of script but those of SAEs."""
    kept = {key: study[key] for key in ("seed", "probe", "grid")}
    models = {"bert": {"path": "bert", "max_tokens": 16, "passes": [{1: []}]}}
    datasets = {"weather": study["datasets"]["weather"]}
    return {**kept, "models": models, "datasets": datasets, "baselines": {"hidden": ["mean"], "tfidf": []}}


def make_importer(folder: Path, *modules: str, rules: str = "") -> Path:
    """Another's workflow, with the tiny study and a smaller one under keys of its config."""
    make_study(folder)
    study = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "importer.yaml").write_text(yaml.safe_dump({"tessera": study, "small": small(study), "theirs": 1}))
    (folder / "Snakefile").write_text('configfile: "importer.yaml"\n' + rules + "".join(modules))
    return folder


MINE = """
rule mine:
    input: "study=a/results/tables/best.csv", "results/tables/best.csv"
    output: "mine.txt"
    benchmark: "results/benchmarks/mine.tsv"
    shell: "cat {input} > {output}"
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """Two modules in one workflow, run to the end: a study under a prefix, another beside the importer's own files."""
    modules = module("tessera", prefix="study=a"), module("small", THIN)
    folder = make_importer(tmp_path_factory.mktemp("imported") / "folder", *modules, rules=MINE)
    (folder / "results/benchmarks").mkdir(parents=True)
    (folder / "results/benchmarks/theirs.tsv").write_text("of\tanother kind\n1\t2\n")
    run(folder, "--", "mine", "tessera_report", "small_report")
    return folder


def test_a_module_computes_what_the_workflow_does(imported, study):
    for table in ("scores", "best", "saes", "predictions", "coefficients", "warnings"):
        one, other = (
            pl.read_parquet(place / f"results/tables/{table}.parquet") for place in (imported / "study=a", study)
        )
        assert one.equals(other)
    pages = {page.name for page in study.glob("results/report/*")} | {"study.html", "runtimes.html"}
    assert pages <= {page.name for page in imported.glob("study=a/results/report/*")}
    assert "probe_sae" in (imported / "study=a/results/report/runtimes.html").read_text()


def test_a_module_writes_below_its_prefix_and_leaves_the_importers_files(imported):
    assert {path.name for path in (imported / "study=a").iterdir()} == {"results", "logs"}
    assert len(pl.read_parquet(imported / "results/tables/best.parquet")) == 2 * 2  # contestants, of a set with a shift
    assert (imported / "results/benchmarks/theirs.tsv").exists() and "weather" in (imported / "mine.txt").read_text()


def test_an_importer_has_nothing_to_do_twice(imported):
    assert "Nothing to be done" in run(imported, "--dry-run", "--", "mine", "tessera_report", "small_report")


def test_an_importers_first_rule_is_its_target(imported):
    printed = run(imported, "--dry-run", "--forcerun", "mine")
    assert set(re.findall(r"^(\w+) +1$", printed, re.MULTILINE)) == {"mine", "total"}


def paths(folder: Path, *arguments: str) -> dict[str, set[str]]:
    """Every output, log and input of the jobs that a target needs."""
    lines = run(folder, "--detailed-summary", *arguments).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("output_file\t"))
    found = {"output_file": set(), "log-file(s)": set(), "input-file(s)": set()}
    for row in csv.DictReader((line for line in lines[first:] if "\t" in line), delimiter="\t"):
        for key, files in found.items():
            files.update({*row[key].split(",")} - {"-"})  # a dash: never run
    return found


def test_a_prefix_moves_every_result_and_nothing_that_the_config_names(imported, study):
    own = paths(study, "--snakefile", str(THIN), "--configfile", "study.yaml", "--", "all")
    moved = paths(imported, "--", "tessera_all")
    for key in ("output_file", "log-file(s)"):
        assert moved[key] == {f"study=a/{file}" for file in own[key]}
    inputs, moved_inputs = (found["input-file(s)"] - {""} for found in (own, moved))  # that of a rule without any
    results = {file for file in inputs if file.startswith("results/")}
    named = {str(imported / file) for file in inputs - results}
    assert moved_inputs == {f"study=a/{file}" for file in results} | named
    assert str(imported / "weather.csv") in named and str(imported / "bert/model.safetensors") in named


def test_both_snakefiles_are_the_workflow(imported, study, tmp_path):
    plans = {
        snakefile: paths(study, "--snakefile", str(snakefile), "--configfile", "study.yaml")
        for snakefile in (MAIN, THIN)
    }
    assert plans[MAIN] == plans[THIN]


# What is of the whole process, told before and after the import.
STATE = """
import json, logging, os, sys
from pathlib import Path
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

onstart:
    print("mine")

def state():
    handlers = [[repr(one), repr(one.filters)] for log in (logger, logging.getLogger()) for one in log.handlers]
    return {
        "config": json.dumps(config), "folder": os.getcwd(), "handlers": handlers,
        "environment": {name: value for name, value in os.environ.items() if name[0] != "_"},  # which polars sets
        "onstart": repr(workflow._onstart), "target": workflow.default_target, "path": list(sys.path),
    }

rule all:
    output: "mine.txt"
    shell: "touch {output}"

BEFORE, ERROR = state(), None
try:
    {use}
except WorkflowError as error:
    ERROR = str(error)
Path("state.json").write_text(json.dumps([BEFORE, state(), ERROR, "all" in workflow._localrules]))
if ERROR:
    raise WorkflowError(ERROR)
"""
USES = {"module": "use rule * from tessera as tessera_*", "include": f'include: "{MAIN}"'}


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("use", USES)
def test_an_importers_process_is_its_own(tmp_path, use, broken):
    folder = make_importer(tmp_path / "folder")
    config = small(yaml.safe_load((folder / "study.yaml").read_text())) | ({"seed": "three"} if broken else {})
    (folder / "importer.yaml").write_text(yaml.safe_dump({"tessera": config} if use == "module" else config))
    text = module("tessera").partition("use rule")[0] if use == "module" else ""
    state = STATE.replace("{use}", USES[use])
    if use == "include":  # whose rules stand beside the importer's, under their own names
        state = state.replace("rule all", "rule mine")
    (folder / "Snakefile").write_text(f'configfile: "importer.yaml"\n{text}{state}')
    printed = run(folder, fails=broken)
    before, after, error, is_local = json.loads((folder / "state.json").read_text())
    added = {*after.pop("path")} - {*before.pop("path")}
    assert added <= {str(ROOT / place) for place in ("workflow", "workflow/rules", "workflow/scripts")}
    assert before == after and is_local == (use == "include" and not broken)  # of an include, `all` is this workflow's
    assert ("mine\n" in printed) == (not broken)
    if broken:
        assert "Traceback" not in printed
        lines = [line for line in printed.splitlines() if "config key" in line]
        assert lines == ["tessera: config key seed: 'three' is not of type integer"] and error in lines


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of an installed library: the wheel, unpacked."""
    if not find_spec("hatchling"):
        lacks("hatchling is not installed (requirements-dev.txt)")
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "wheel"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("wheel/*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


LIBRARY = """
import sys, tessera
from importlib.metadata import version
from tessera.base.code import git_commit
from tessera.study.config import SCHEMA, load
assert tessera.__file__ == sys.argv[1] + "/tessera/__init__.py", tessera.__file__
config = {
    "models": {"m": {"hub": "a/b", "passes": [{1: []}]}},
    "datasets": {"d": {"hub": "c/d", "text": "t", "label": "l", "max_examples": 20}},
    "grid": {"poolings": ["sum"], "thresholds": ["none"]},
}
assert SCHEMA.is_relative_to(sys.argv[1]) and load(config).seed == 0
assert version("tessera-sae") == tessera.__version__
assert not {"torch", "snakemake", "sae_lens"} & sys.modules.keys()
print(git_commit(SCHEMA.parent))
"""


def test_the_library_is_a_package(installed, tmp_path):
    """Its commit is not that of a repository which happens to be around it."""
    shutil.copytree(installed, tmp_path / "site")
    for arguments in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-mx"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    for site in (installed, tmp_path / "site"):
        command = [sys.executable, "-c", LIBRARY, str(site)]
        environment = {**os.environ, "PYTHONPATH": str(site)}
        said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert said.stdout == "version 0.1.0, not a git checkout\n", said.stderr


def test_the_package_asks_for_what_the_workflow_pins():
    pattern = re.compile(r"^([\w.-]+)(?:>=|==)(\d+\.\d+)", re.MULTILINE)
    pins = dict(pattern.findall((ROOT / "requirements.txt").read_text()))
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    engine = {"snakemake", "snakemake-executor-plugin-slurm"}
    assert dict(pattern.findall("\n".join(asked))) == {name: pins[name] for name in pins.keys() - engine}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory) -> Path:
    """A repository with a tag, as Snakemake's cache holds it once it was cloned: no network is asked."""
    folder = tmp_path_factory.mktemp("hosted")
    repository = folder / "github/lab/tessera"
    repository.mkdir(parents=True)
    for name in SOURCE:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, repository / name)
    person = ["-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], [*person, "commit", "-qmx"], ["tag", "v0.1.0"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    clone = folder / "cache/snakemake/snakemake/source-cache/snakemake-git-cache/github.com/lab/tessera"
    subprocess.run(["git", "clone", "-q", "--bare", repository, clone], check=True)
    return folder


@pytest.fixture(scope="module")
def deployed(hosted) -> Path:
    """What snakedeploy writes of that repository."""
    snakedeploy = Path(sys.executable).with_name("snakedeploy")
    if not snakedeploy.exists():
        lacks("snakedeploy is not installed (requirements-dev.txt)")
    command = [snakedeploy, "deploy-workflow", hosted / "github/lab/tessera", hosted / "deployed", "--tag", "v0.1.0"]
    subprocess.run(command, check=True, capture_output=True)
    assert (
        'github("lab/tessera", path="workflow/Snakefile", tag="v0.1.0")'
        in (hosted / "deployed/workflow/Snakefile").read_text()
    )
    return hosted / "deployed"


@pytest.fixture(scope="module")
def fetched(hosted, installed) -> dict[str, str]:
    """The environment in which that repository is at hand, and the library installed."""
    return {"XDG_CACHE_HOME": str(hosted / "cache"), "PYTHONPATH": str(installed)}


def test_a_deployed_workflow_plans_the_embedded_study(deployed, fetched):
    printed = run(deployed, "--dry-run", **fetched)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    assert jobs["all"] == jobs["unpack"] == "1" and int(jobs["probe_sae"]) > 20
    assert "profiles/default" in printed


def test_a_deployed_workflow_runs_from_fetched_files(deployed, fetched, tmp_path):
    folder = make_study(tmp_path / "folder")
    shutil.copytree(deployed / "workflow", folder / "workflow")
    (folder / "config").mkdir()
    config = small(yaml.safe_load((folder / "study.yaml").read_text()))
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    run(folder, "--", "all", "report", **fetched)
    code = pl.read_parquet(folder / "results/tables/provenance.parquet").filter(kind="code")
    assert code["value"].unique().to_list() == ["version 0.1.0, not a git checkout"]
    run(folder, "--report", "report.html", "--", "report", **fetched)
    assert "Read off" in (folder / "report.html").read_text()


def test_the_rules_refuse_a_library_of_another_version_and_none(deployed, fetched, installed, tmp_path):
    def refused(folder, *arguments, **environment):
        printed = run(folder, "--dry-run", *arguments, fails=True, **environment)
        assert "Traceback" not in printed
        return printed

    cache, site = {"XDG_CACHE_HOME": fetched["XDG_CACHE_HOME"]}, tmp_path / "site"
    assert "no library beside github.com/lab/tessera/workflow/rules@v0.1.0" in refused(deployed, **cache)
    shutil.copytree(installed, site)
    text = (site / "tessera/__init__.py").read_text()
    (site / "tessera/__init__.py").write_text(text.replace("0.1.0", "0.2.0"))
    assert f"{site}/tessera is of another version than" in refused(deployed, **cache, PYTHONPATH=str(site))
    printed = refused(tmp_path, "--snakefile", str(MAIN), PYTHONPATH=str(installed))
    assert printed.splitlines()[-1].startswith(f"error: {installed}/tessera hides the library of this checkout")


def test_the_catalog_finds_what_it_shows():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {"conda": True} and usage["report"] is True
    assert (ROOT / "config/README.md").exists() and MAIN.exists()
    section = (ROOT / "docs/module.md").read_text().partition("## From a repository or the catalog")[2]
    assert section and re.search("snakemake", section) and "workflow" in section
