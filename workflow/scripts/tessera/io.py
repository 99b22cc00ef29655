"""The one writer of files: a temporary name, then a rename, so that nothing half-written looks finished."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tessera.errors import TesseraError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    _remove(part)
    try:
        yield part
        _remove(path)
        part.rename(path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Measured smallest for sorted ids and for activations: 3.4 bytes per nonzero with zstd."""
    encodings = {}
    for field in schema:
        nested = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        column = f"{field.name}.list.element" if nested else field.name
        kind = field.type.value_type if nested else field.type
        if pa.types.is_integer(kind):
            encodings[column] = "DELTA_BINARY_PACKED"
        elif pa.types.is_floating(kind):
            encodings[column] = "BYTE_STREAM_SPLIT"
    return encodings


@contextmanager
def parquet_writer(path: str | Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of row groups to `path` (zstd, no dictionary); the file appears when the block succeeds."""
    with (
        atomic(path) as part,
        pq.ParquetWriter(
            part,
            schema,
            compression="zstd",
            use_dictionary=False,
            column_encoding=_encodings(schema),
            write_statistics=False,
        ) as writer,
    ):
        yield writer


def write_parquet(path: str | Path, table) -> None:
    """Write a polars frame or an arrow table to `path`."""
    if not isinstance(table, pa.Table):
        table = table.to_arrow()
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


def open_parquet(path: str | Path) -> pq.ParquetFile:
    """Open a parquet file of this workflow.

    Raises:
        TesseraError: the file is damaged; the message names it and how to rebuild it.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TesseraError(f"{path} cannot be read ({error}); delete it and run again to rebuild it") from error
