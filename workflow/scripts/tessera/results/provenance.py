"""Where a result comes from: what identifies models, SAEs, data, libraries, config and code, carried by every table.

A fact is a row (kind, name, item, value). Jobs that load weights leave theirs in the metadata of what they write; the
tables collect them, so that no fact is a parameter that could make anything rerun.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from tessera.base import hive
from tessera.base.code import code_facts
from tessera.base.digests import config_sha256, sha256
from tessera.base.files import KEY
from tessera.examples.digests import read_sources

COLUMNS = ["kind", "name", "item", "value"]
Facts = list[list[str]]


def file_sha256(path: str | Path) -> str:
    return f"sha256:{sha256(path)}"


def read_facts(path: str | Path) -> Facts:
    """The facts that a file of this workflow carries."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(KEY, "[]"))


def collect(shards: Iterable[str], examples: Iterable[str], config: dict) -> Facts:
    """Every fact behind a study's tables: of its shards, its data sets' examples, the config and this job.

    shards: summaries of activations, and embeddings.
    """
    facts = {tuple(fact) for file in shards for fact in read_facts(file)}
    for file in examples:
        data = hive.keys(file)["data"]
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
