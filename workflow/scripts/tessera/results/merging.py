"""Merge the files of many cells into one table."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.features.registry import kind
from tessera.study.grid import AXES, CELL

TYPES = {axis: pl.Int64 if about.number else pl.String for axis, about in AXES.items()}


def scan(files: Iterable[str | Path]) -> pl.LazyFrame:
    """Files of one stage as one table, the keys of their paths as columns.

    Raises:
        TesseraError: a folder above the results is named as a key of theirs, or as another above.
    """
    files = [str(file) for file in files]
    keys = hive.keys(files[0])
    above = [part.partition("=")[0] for part in files[0].split("/")[:-1] if "=" in part]
    above = above[: len(above) - len(keys)]  # of a prefix, such as an object storage's
    if len({*above, *keys}) < len(above) + len(keys):
        raise TesseraError(
            f"{files[0]}: a folder above the results has the name of a key of theirs, or of another above; rename it"
        )
    schema = {key: TYPES[key] for key in keys} | dict.fromkeys(above, pl.String)
    found = pl.scan_parquet(files, hive_partitioning=True, hive_schema=schema)
    return found.drop(above, strict=False)  # a folder with two equal signs is no column


def merge_cells(files: Iterable[str]) -> pl.LazyFrame:
    """One part (scores, predictions or coefficients) of many cells, of any kinds of features, their places in front.

    Raises:
        TesseraError: a file is of no registered kind.
    """
    place = pl.LazyFrame(schema={key: TYPES[key] for key in CELL})
    parts = {kind(name).name: scan(some) for (name,), some in hive.by(files, "features").items()}
    merged = pl.concat([place, *parts.values()], how="diagonal")
    return merged.select(*CELL, pl.exclude(CELL)).sort(CELL, maintain_order=True, nulls_last=True)


def merge_in_parts(files: list[str], size: int = 100) -> Iterator[pl.DataFrame]:
    """The same of cells of one kind, some at a time: for parts that together fill the memory."""
    ordered = in_order(files)
    for start in range(0, max(1, len(ordered)), size):
        yield merge_cells(ordered[start : start + size]).collect()


def in_order(files: Iterable[str]) -> list[str]:
    """Files of cells, or of places, in the order of CELL."""

    def place(file: str) -> tuple:
        keys = hive.keys(file)
        return tuple(int(keys[key]) if AXES[key].number else keys[key] for key in CELL if key in keys)

    return sorted(files, key=place)
