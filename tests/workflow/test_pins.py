"""Every place that names a version names the same one."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
from studies import study_of
from tessera.features.registry import KINDS
from tessera.plan import cells

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/scripts/tessera"


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
    assert "torch" not in (ROOT / "envs/probes.yaml").read_text().replace("neither torch", "")


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


DISTRIBUTIONS = {
    **{"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"},
    **{"vl_convert": "vl-convert-python", "umap": "umap-learn"},
}
ON_GPUS = study_of(probe={"device": "cuda"})
BROUGHT_ALONG = {"huggingface-hub", "tokenizers"}  # by transformers and datasets


# Imported by jobs that fit with torch alone, whose environment is another.
WITH_TORCH = {LIBRARY / "probes/gpu.py", LIBRARY / "probes/heads.py"}


def imported(file: Path, torch: bool) -> set[str]:
    """Every third-party package that a script imports, itself or through the library, at once or in a function."""
    found, waiting, seen = set(), [file], set() if torch else {*WITH_TORCH}
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            for name in names:
                top, *parts = name.split(".")
                if top == "tessera":
                    places = [LIBRARY.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
                    modules = [path for place in places for path in (place / "__init__.py", place.with_suffix(".py"))]
                    waiting += [path for path in modules if path.exists()]
                elif top not in sys.stdlib_module_names:
                    found.add(DISTRIBUTIONS.get(top, top).replace("_", "-"))
    return found


def jobs() -> list[tuple[str, str]]:
    """Environment and script of every rule that runs one."""
    pattern = r'conda:\n\s+"../../envs/(\w+)\.yaml"(?:(?!\nrule ).)*?script:\n\s+"../scripts/(\w+)\.py"'
    named = [
        pair
        for rules in sorted((ROOT / "workflow/rules").glob("*.smk"))
        for pair in re.findall(pattern, rules.read_text(), re.DOTALL)
    ]
    made = [(kind.environment, script) for kind in KINDS.values() for script in ("probe", "transfer")]
    torch = [(cells.environment(ON_GPUS, *fit), "probe") for fit in (("sae", "logistic"), ("tokens", "attention"))]
    return [*named, *made, *torch]


@pytest.mark.parametrize(("environment", "script"), jobs())
def test_an_environment_has_what_its_scripts_import(environment, script):
    """As far as it goes without conda."""
    parts = yaml.safe_load((ROOT / f"envs/{environment}.yaml").read_text())["dependencies"]
    there = pins(next(part["pip"] for part in parts if isinstance(part, dict)))
    assert imported(ROOT / f"workflow/scripts/{script}.py", torch="torch" in there) <= {*there, *BROUGHT_ALONG}
