"""Profiles and rules speak of the same rules; a dry run through each works without a cluster."""

import re
from importlib.util import find_spec

import pytest
import yaml
from machine import lacks
from runs import ROOT, change, make_study, planned, snakemake

# A rule that is made for each kind of features, or stage, goes by what stands in front of its name, or what names it.
RULES = {
    name or re.search(r'name:\n +(?:f"|cells\.)(\w+?)_?[{(]', body)[1]: body
    for file in (ROOT / "workflow/rules").glob("*.smk")
    for name, body in re.findall(r"^ *rule ?(\w*):\n((?:    .*\n|\n)+)", file.read_text(), re.MULTILINE)
}
PROFILES = {file.parent.name: yaml.safe_load(file.read_text()) for file in (ROOT / "profiles").glob("*/config.yaml")}
GPU = {
    "answers",
    "tune",
    "residuals",
    "train_sae",
    "extract",
    "embed",
    "token_states",
    "ablate",
    "steer",
    "read_written",
    "erase",
}


@pytest.mark.parametrize("name", sorted(set(PROFILES) - {"default"}))
def test_a_profile_gives_gpus_to_the_jobs_that_use_them(name):
    wanted = {rule for rule, resources in PROFILES[name]["set-resources"].items() if resources["gpu"] == 1}
    assert wanted == GPU <= set(RULES)


def test_the_default_profile_sets_no_resources():
    """They would take the place of another profile's."""
    assert not {"set-resources", "default-resources", "set-threads"} & set(PROFILES["default"])


def test_cheap_jobs_share_a_slurm_job():
    together = re.compile(r'\n +group:\n +("cells"|"results"|cells\.group.*)\n')
    grouped = {rule for rule, body in RULES.items() if together.search(body)}
    alone = {
        "examples",
        "weights",
        "unpack",
        "prepare_sae",
        "prepare_decoder",
        "write_tokens",
        "need",
        "judge_written",
        "measure_steering",
        "measure_erasure",
        "measure_sae",
        "match",
        "carry",
        "compare_cells",
        "fit_curve",
        "export_probe",
        "write_neuronpedia",
        "study",
    } | GPU  # what waits for little, or for a long time, or takes no time
    assert grouped == {rule for rule, body in RULES.items() if "script:" in body} - alone


@pytest.mark.parametrize("rule", [rule for rule, body in RULES.items() if "script:" in body])
def test_a_retry_asks_for_more(rule):
    of_kind = r"(\d+|probe_kind\(probe\)\.\w+)"
    asked = r"( +\*\*cells\.gpu.*\n)?"
    asked += rf" +mem_mb=grows\({of_kind}\),\n +runtime=grows\({of_kind}( \* STUDY.repeats)?( \* len\(.+\))?\),\n"
    assert re.search(rf"resources:\n{asked}", RULES[rule])
    assert "retries" not in RULES[rule]


@pytest.mark.parametrize("name", ["local-gpu", "slurm"])
def test_a_dry_run(tmp_path, name):
    if name == "slurm" and find_spec("snakemake_executor_plugin_slurm") is None:
        lacks("snakemake-executor-plugin-slurm is not installed (it is in requirements.txt)")
    folder = make_study(tmp_path / "study")
    assert planned(folder, "--profile", str(ROOT / "profiles" / name)) == planned(folder)


def test_probes_on_a_gpu_are_planned_with_no_edit_of_a_profile_and_refused_without_one(copy, monkeypatch):
    change(copy, lambda config: config["probe"].update(device="cuda"))
    assert planned(copy, "--profile", str(ROOT / "profiles/local-gpu")) == planned(copy)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    printed = snakemake(copy, "--config", "cell=length/own", "--", "cell", fails=True)
    assert "config key probe.device: cuda, but torch sees no GPU here; allowed: cpu" in printed
    assert "Traceback" not in printed
