"""Checks of the rows of a data set."""

import polars as pl

from tessera.base.errors import TesseraError, shorten

AUTO = "auto"  # in the place of a column of groups: near-duplicates are grouped


def no_row(key: str, role: str, what: str, bad: pl.Series, values: pl.Series | None = None) -> None:
    """An error that names the first of the bad rows, if there are any, and counts them."""
    if bad.any():
        row = int(bad.arg_max())
        value = f" {shorten(values[row])}" if values is not None else ""
        raise TesseraError(f"config key {key}.{role}: row {row} has {what}{value} ({bad.sum()} such rows)")
