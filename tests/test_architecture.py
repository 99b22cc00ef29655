"""docs/architecture.md: its picture is that of the imports, and what its walk names is there."""

import ast
import re
from pathlib import Path

import pytest
from test_house import MODULES, PACKAGES, SCRIPTS, own, package

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text()
NAMED = sorted({*re.findall(r"`(\w+/\w+\.py)(?::(\w+))?`", TEXT)})


def imported() -> dict[str, set[str]]:
    """Package → the packages that its modules import."""
    found = {name: set() for name in PACKAGES}
    for module in MODULES:
        found[package(module)] |= {package(other) for other in own(module) if "." in other}
    return {name: others - {name} for name, others in found.items()}


def behind(name: str, imports: dict[str, set[str]]) -> set[str]:
    """The packages that a package's imports import in turn."""
    return {far for near in imports[name] for far in {*imports[near], *behind(near, imports)}}


def test_the_picture_has_the_imports_that_do_not_follow_from_others():
    imports = imported()
    needed = {(name, other) for name in PACKAGES for other in imports[name] - behind(name, imports)}
    picture = TEXT.partition("```mermaid\n")[2].partition("```")[0]
    drawn = re.findall(r"^ +(\w+) --> (\w+)$", picture, re.MULTILINE)
    assert {*drawn} == needed and len(drawn) == len(needed) == len(picture.splitlines()) - 1


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[":".join(one) for one in NAMED])
def test_what_the_walk_names_is_there(file, name):
    place = SCRIPTS / file if file.startswith("tessera/") else SCRIPTS / "tessera" / file
    tree = ast.parse(place.read_text())
    assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_rules_that_the_walk_names_are_there():
    source = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    lists = re.findall(r"[Rr]ules? ((?:`\w+`(?:, | and )?)+)", TEXT)
    generated = re.compile(r"(probe|draw)_\w+|transfer_(?!tables)\w+")  # a rule per kind of features or stage
    named = {name for names in lists for name in names.split("`")[1::2] if not generated.fullmatch(name)}
    assert len(named) > 10
    assert [name for name in named if not re.search(rf"^ *rule {name}:", source, re.MULTILINE)] == []
