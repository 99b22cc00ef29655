"""Draw a figure of the catalogue."""

from importlib import import_module

import matplotlib.pyplot as plt
import polars as pl

from tessera.study.grid import AXES


def draw(name: str, table: pl.DataFrame, place: dict[str, str]) -> plt.Figure:
    """The figure `module.function` of report/, of the rows of `table` at `place`."""
    module, _, function = name.partition(".")
    where = {axis: int(value) if AXES[axis].number else value for axis, value in place.items()}
    return getattr(import_module(f"tessera.report.{module}"), function)(table.filter(**where))
