"""Which code a file was computed by."""

import subprocess

import pytest
from tessera import __version__
from tessera.base.code import code_facts, git_commit


def test_a_checkout_names_its_commit_and_its_changes(tmp_path):
    assert git_commit(tmp_path) == f"version {__version__}, not a git checkout"
    person = ["-c", "user.name=n", "-c", "user.email=e"]
    file = tmp_path / "file"
    file.write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], [*person, "commit", "-qm", "one"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert git_commit(tmp_path) == f"commit {head}"
    (tmp_path / "inside").mkdir()  # a repository that holds the library and does not track it
    assert git_commit(tmp_path / "inside") == f"version {__version__}, not a git checkout"
    file.write_text("two")
    assert git_commit(tmp_path) == f"commit {head}, with changes"


@pytest.mark.parametrize("stage", ["activations", "tables"])
def test_a_stage_names_the_libraries_it_needs(stage):
    names = [name for kind, name, *_ in code_facts(stage) if kind == "library"]
    assert "polars" in names and ("torch" in names) == (stage == "activations")
