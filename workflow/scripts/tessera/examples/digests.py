"""The files that examples were read from: recorded when they are read, compared when their results are merged."""

import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.base.digests import sha256
from tessera.base.errors import TesseraError

KEY = b"tessera sources"


def with_sources(examples: pl.DataFrame, digests: dict[str, str]) -> pa.Table:
    """`examples` with the SHA-256 of each file that they were read from among the metadata."""
    table = examples.to_arrow()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: json.dumps(digests)})


def read_sources(examples: str | Path) -> dict[str, str]:
    """Path → SHA-256 of each file that a file of examples was read from."""
    return json.loads((pq.read_schema(examples).metadata or {}).get(KEY, "{}"))


def check_sources(files: Iterable[str | Path]) -> None:
    """Are the files that these examples were read from still what they were?

    A source that is not there (in object storage, or deleted) is not compared.

    Raises:
        TesseraError: names the first that is not, and what to do.
    """
    for file in files:
        for path, digest in read_sources(file).items():
            if Path(path).is_file() and sha256(path) != digest:
                raise TesseraError(
                    f"{path} has changed since {file} was read from it: nothing is merged; run again, and what follows "
                    f"from that file is computed anew"
                )
