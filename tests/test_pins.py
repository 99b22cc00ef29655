"""Every place that names a version names the same one."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def pins(lines) -> dict[str, str]:
    found = (re.match(r"([A-Za-z0-9_.-]+)==([^\s;#]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


REQUIRED = pins((ROOT / "requirements.txt").read_text().splitlines())


@pytest.mark.parametrize("file", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda file: file.stem)
def test_conda_environments_pin_as_the_requirements_do(file):
    parts = yaml.safe_load(file.read_text())["dependencies"]
    packages = pins(next(part["pip"] for part in parts if isinstance(part, dict)))
    assert packages and packages.items() <= REQUIRED.items()


def test_probing_needs_no_torch():
    for name in ("probes", "figures"):
        assert "torch" not in (ROOT / f"envs/{name}.yaml").read_text().replace("neither torch", "")


def test_constraints_agree_with_the_requirements():
    constraints = pins((ROOT / "constraints.txt").read_text().splitlines())
    developers = pins((ROOT / "requirements-dev.txt").read_text().splitlines())
    assert {**REQUIRED, **developers}.items() <= constraints.items()


def test_every_requirement_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert len(pins(lines)) == len(lines)


def test_rules_name_environments_that_exist():
    for rules in (ROOT / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"\.\./\.\./envs/(\w+)\.yaml"', rules.read_text()):
            assert (ROOT / f"envs/{name}.yaml").exists()
