"""The one kind of error a user is meant to read."""

import polars as pl


class TesseraError(Exception):
    """One line that says what is wrong, where, and what to do about it."""


def shorten(value: object, limit: int = 80) -> str:
    """`value` as a user wrote it, on one line and cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def no_row(key: str, role: str, what: str, bad: pl.Series, values: pl.Series | None = None) -> None:
    """An error that names the first of the bad rows, if there are any, and counts them."""
    if bad.any():
        row = int(bad.arg_max())
        value = f" {shorten(values[row])}" if values is not None else ""
        raise TesseraError(f"config key {key}.{role}: row {row} has {what}{value} ({bad.sum()} such rows)")
