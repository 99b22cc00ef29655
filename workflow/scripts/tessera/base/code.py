"""Which code a file is computed by: the commit of this checkout, and versions of libraries."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from tessera import __version__

LIBRARIES = {
    "activations": ["torch", "transformers", "safetensors", "numpy", "polars", "pyarrow"],
    "tables": ["scikit-learn", "scipy", "numpy", "polars", "pyarrow"],
}


def code_facts(stage: str) -> list[list[str]]:
    """The commit of this checkout and the versions of the libraries that a stage computes with."""
    return [
        ["code", "tessera", stage, git_commit(Path(__file__).parent)],
        *(["library", library, stage, version(library)] for library in LIBRARIES[stage]),
    ]


def git_commit(folder: Path) -> str:
    """The commit that `folder` is a checkout of, and whether tracked files differ; of no checkout, the version."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", ".")  # else another's repository, around an installed package
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return f"commit {git('rev-parse', 'HEAD').strip()}{', with changes' if changed else ''}"
    except (OSError, subprocess.CalledProcessError):
        return f"version {__version__}, not a git checkout"
