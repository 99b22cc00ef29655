"""Draw a figure of the catalogue."""

from importlib import import_module

import matplotlib.pyplot as plt
import polars as pl


def draw(name: str, table: pl.DataFrame, place: dict[str, str]) -> plt.Figure:
    """The figure `module.function` of report/, of the rows of `table` at `place`."""
    module, _, function = name.partition(".")
    return getattr(import_module(f"tessera.report.{module}"), function)(table.filter(**place))
