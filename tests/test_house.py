"""The library's own rules, read off its source: what may import what, and how long a file may be."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
PACKAGES = (
    *("base", "study", "examples", "models", "saes", "activations", "features"),
    *("probes", "transfer", "matching", "evidence", "steering", "interventions", "results", "report"),
    *("explorer", "plan", "exports", "notebook"),
)  # each may import those before it
LONGEST = 450  # lines


def name_of(file):
    return ".".join(file.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted(SCRIPTS.glob("tessera/**/*.py"))}
TREES = {module: ast.parse(file.read_text()) for module, file in FILES.items()}
MODULES = [module for module, file in FILES.items() if file.name != "__init__.py"]


def imports(module):
    """(module, name in it or None, name it has here) of every import, those inside functions too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found = (inside, None) if inside in FILES else (node.module, alias.name)
                yield *found, alias.asname or alias.name


def own(module):
    """The modules of the library that a module imports."""
    return {found for found, *_ in imports(module) if found in FILES}


def package(module):
    return module.split(".")[1]


def test_every_package_and_module_has_its_place():
    packages = {module for module in FILES if module not in MODULES}
    assert packages == {"tessera", *(f"tessera.{name}" for name in PACKAGES)}
    assert {module.rpartition(".")[0] for module in MODULES} <= packages - {"tessera"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    allowed = {"tessera", *(f"tessera.{name}" for name in PACKAGES[: PACKAGES.index(package(module)) + 1])}
    assert [found for found in own(module) if found not in allowed and found.rpartition(".")[0] not in allowed] == []


def test_no_circle_of_imports():
    assert [*TopologicalSorter({module: own(module) for module in FILES}).static_order()]  # else a CycleError


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_of_another_module(module):
    taken = [name for found, name, _ in imports(module) if found in FILES and is_private(name or "")]
    modules = {here for found, name, here in imports(module) if found in FILES and name is None}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in modules:
            taken.append(node.attr)
    assert taken == []


def test_nothing_imports_the_workflow_engine():
    assert [module for module in FILES for found, *_ in imports(module) if found.split(".")[0] == "snakemake"] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_in_one_line_what_it_may_touch(name):
    said = ast.get_docstring(TREES[f"tessera.{name}"])
    assert said and len(said.splitlines()) == 1


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_read_in_one_sitting(module):
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


def test_only_what_reads_images_reads_whole_examples():
    """Images may be large: frames of examples are read by `read_examples`, which leaves them out."""
    for file in [*SCRIPTS.glob("*.py"), *SCRIPTS.glob("tessera/matching/*.py"), *SCRIPTS.glob("tessera/results/*.py")]:
        assert not re.search(r"read_parquet\([^)]*\bexamples", file.read_text()), file
