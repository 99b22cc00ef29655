"""Figures of trees: which columns tell most to them."""

import math

import matplotlib.pyplot as plt
import polars as pl

from tessera.features.registry import KINDS
from tessera.probes.registry import PROBES
from tessera.report.style import COLUMN, STYLE, look
from tessera.study.grid import CELL

SHOWN = 10  # columns of a cell
LONGEST = 18  # characters of a class
AXES = [axis for axis in CELL if axis not in ("features", "probe", "data")]


def shap_values(told: pl.DataFrame) -> plt.Figure:
    """Of one data set, a panel per kind of features and of trees: a bar per column, and the class it speaks for."""
    cells = told.partition_by("features", "probe", maintain_order=True)
    with plt.rc_context(STYLE):
        rows = math.ceil(len(cells) / 2)
        figure, axes = plt.subplots(rows, 2, figsize=(2 * COLUMN, 0.2 + 1.7 * rows), squeeze=False)
        for number, (axis, cell) in enumerate(zip(axes.flat, cells, strict=False)):
            _bars(axis, cell, look(number)[0])
        for axis in axes.flat[len(cells) :]:
            axis.set_visible(False)
    return figure


def _bars(axis: plt.Axes, cell: pl.DataFrame, colour: str) -> None:
    apart = pl.col("shap").fill_null(0) - pl.col("shap_others").fill_null(0)
    columns = (
        cell.filter(pl.col("rank_shap") <= SHOWN)
        .group_by("rank_shap", "latent", maintain_order=True)
        .agg(pl.col("absolute_shap").mean(), speaks_for=pl.col("class").sort_by(apart).last())
        .sort("rank_shap")
    )
    place = cell.row(0, named=True)
    drawn = axis.barh(range(len(columns)), columns["absolute_shap"], color=colour, height=0.7)
    names = [name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in columns["speaks_for"]]
    axis.bar_label(drawn, names, padding=2, fontsize=5.5, parse_math=False)
    axis.margins(x=0.25)
    axis.set_yticks(range(len(columns)), columns["latent"])
    axis.set_ylim(len(columns) - 0.4, -0.6)
    axis.set_xlabel(f"mean |SHAP value| [{PROBES[place['probe']].trees}]")
    where = "/".join(str(place[key]) for key in AXES if place[key] is not None)
    title = f"{KINDS[place['features']].title}, {PROBES[place['probe']].title}\n{where}"
    axis.set_title(title, loc="left", parse_math=False)
