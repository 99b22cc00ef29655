"""Merge the files of many cells into one table."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from tessera.study.grid import CELL, HIVE, UNITS


def scan(files: Iterable[str | Path]) -> pl.LazyFrame:
    """Files of one stage as one table, the keys of their paths as columns."""
    files = [str(file) for file in files]
    keys = [part.split("=")[0] for part in Path(files[0]).parts if "=" in part]
    return pl.scan_parquet(files, hive_partitioning=True, hive_schema={key: HIVE[key] for key in keys})


def merge_cells(parts: dict[str, list[str]]) -> pl.LazyFrame:
    """One part (scores, predictions or coefficients) of every cell, its place in the grid in front.

    `parts` maps sae, hidden, tfidf, length and pixels to the files of their cells.
    """
    kinds = []
    for kind, files in parts.items():
        if files:
            frame = scan(files).with_columns(features=pl.lit(kind))
            kinds.append(frame.rename({"unit": "pooling"}) if kind in UNITS else frame)
    place = pl.LazyFrame(schema={key: HIVE.get(key, pl.String) for key in CELL})
    merged = pl.concat([place, *kinds], how="diagonal")
    return merged.select(*CELL, pl.exclude(CELL)).sort(CELL, maintain_order=True, nulls_last=True)


def merge_in_parts(files: list[str], size: int = 100) -> Iterator[pl.DataFrame]:
    """What `merge_cells` makes of SAE cells' `files`, some cells at a time: for parts that together fill the memory."""
    ordered = sorted(files, key=_place)
    for start in range(0, max(1, len(ordered)), size):
        yield merge_cells({"sae": ordered[start : start + size]}).collect()


def _place(file: str) -> tuple:
    """Where a cell's file stands in the order of CELL."""
    keys = dict(part.split("=", 1) for part in Path(file).parts if "=" in part)
    return tuple(int(keys[key]) if HIVE[key] == pl.Int64 else keys[key] for key in CELL if key in keys)
