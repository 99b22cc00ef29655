"""Where a result comes from: what identifies models, SAEs, data, libraries, config and code, carried by every table.

A fact is a row (kind, name, item, value). Jobs that load weights leave theirs in the metadata of what they write; the
tables collect them, so that no fact is a parameter that could make anything rerun.
"""

import json
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from tessera.base.digests import config_sha256, sha256
from tessera.base.files import KEY, atomic, resolve, write_parquet
from tessera.examples.digests import read_sources

COLUMNS = ["kind", "name", "item", "value"]
LIBRARIES = {
    "activations": ["torch", "transformers", "safetensors", "numpy", "polars", "pyarrow"],
    "tables": ["scikit-learn", "scipy", "numpy", "polars", "pyarrow"],
}
Facts = list[list[str]]


def file_sha256(path: str | Path) -> str:
    return f"sha256:{sha256(path)}"


def model_facts(name: str, spec: dict, source: dict, seed: int) -> Facts:
    """The commit of a model of the hub, or the hash of each weight file of a folder; for a control, of its config."""
    drawn = "control_of" in spec
    facts = [["model", name, "weights", f"drawn from seed {seed}"]] if drawn else []
    if "hub" in source:
        return [*facts, ["model", name, f"hub {source['hub']}", hub_commit(source["hub"], source.get("revision"))]]
    files = sorted(resolve(source["path"]).glob("config.json" if drawn else "*.safetensors"))
    return facts + [["model", name, file.name, file_sha256(file)] for file in files]


def hub_commit(repository: str, revision: str | None) -> str:
    """The commit of the hub's cache that a revision (the default branch where None) has been resolved to."""
    from huggingface_hub import try_to_load_from_cache  # only hub models need it

    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    return f"commit {Path(found).parent.name}" if isinstance(found, str) else "commit unknown: not in the hub's cache"


def code_facts(stage: str) -> Facts:
    """The commit of this checkout and the versions of the libraries that a stage computes with."""
    return [
        ["code", "tessera", stage, git_commit(Path(__file__).parent)],
        *(["library", library, stage, version(library)] for library in LIBRARIES[stage]),
    ]


def git_commit(folder: Path) -> str:
    """The commit that `folder` is a checkout of, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return f"commit {git('rev-parse', 'HEAD').strip()}{', with changes' if changed else ''}"
    except (OSError, subprocess.CalledProcessError):
        return "commit unknown: not a git checkout"


def read_facts(path: str | Path) -> Facts:
    """The facts that a file of this workflow carries."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(KEY, "[]"))


def collect(summaries: Iterable[str], examples: dict[str, str], config: dict) -> Facts:
    """Every fact behind a study's tables: of its shards, of its data sets' examples, of the config and of this job."""
    facts = {tuple(fact) for file in summaries for fact in read_facts(file)}
    for data, file in examples.items():
        sources = {Path(path).name: f"sha256:{digest}" for path, digest in read_sources(file).items()}
        facts |= {
            ("data", data, name, value) for name, value in {Path(file).name: file_sha256(file), **sources}.items()
        }
    facts |= {("config", "study", "as given", config_sha256(config)), *map(tuple, code_facts("tables"))}
    return [list(fact) for fact in sorted(facts)]


def passed_on(table: str | Path) -> Facts:
    """The facts of a table that another is made from, with the code and libraries of this job."""
    kept = [fact for fact in read_facts(table) if fact[2] != "tables"]
    return sorted(kept + code_facts("tables"))


def fact_table(facts: Facts) -> pl.DataFrame:
    return pl.DataFrame(facts, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def table_writer(outputs: dict[str, str], facts: Facts) -> Callable[[str, pl.DataFrame], None]:
    """A function that writes a table to `outputs[name]` as parquet that carries `facts`, and as csv to `name_csv`."""

    def write(name: str, table: pl.DataFrame) -> None:
        write_parquet(outputs[name], table, facts)
        if f"{name}_csv" in outputs:
            with atomic(outputs[f"{name}_csv"]) as part:
                table.write_csv(part, float_precision=6)

    return write
