"""The figure of regimes: who holds out where training splits are poor, or test sets shifted."""

import math

import matplotlib.pyplot as plt
import polars as pl

from tessera.examples.regimes import REGIMES
from tessera.report.style import COLUMN, F1, STYLE, hide_beyond, legend_of, looks
from tessera.results.contestants import CONTROLS, present
from tessera.results.regime_tables import PLAIN

SHIFT, TESTED = "shifted test sets", "tested on"


def regimes(table: pl.DataFrame) -> plt.Figure:
    """A panel per regime, and one of shifted test sets; a line per contestant: macro F1, the mean over its data sets.

    Each point is the cell with the best cross-validated F1 inside the training split of that regime. The first of each
    panel is the plain training split, on the test split.
    """
    tests = table.filter(split="test")
    plain = tests.filter(regime=PLAIN)
    panels = {}
    for name in (name for name in REGIMES if name in table["regime"]):
        rows = tests.filter(regime=name)
        levels = {f"{REGIMES[name].plain:g}": plain}
        levels |= {f"{level:g}": rows.filter(level=level) for level in rows["level"].unique(maintain_order=True)}
        panels[name, REGIMES[name].level] = levels
    shifted = table.filter(pl.col("split") != "test", regime=PLAIN)
    if len(shifted):
        with_shifts = plain.filter(pl.col("data").is_in(shifted["data"].implode()))
        panels[SHIFT, TESTED] = {"their own split": with_shifts, "shifted sets": shifted}
    named = looks(present(table["contestant"]))
    with plt.rc_context(STYLE):
        rows = math.ceil(len(panels) / 2)
        size = (COLUMN, 0.6 + 1.4 * rows)
        figure, axes = plt.subplots(rows, 2, figsize=size, sharey=True, squeeze=False)
        for axis, ((title, label), levels) in zip(axes.flat, panels.items(), strict=False):
            for name, (colour, marker) in named.items():
                scores = [_mean(points.filter(contestant=name)) for points in levels.values()]
                fill = "white" if name in CONTROLS else colour
                axis.plot(range(len(levels)), scores, color=colour, marker=marker, mfc=fill, label=name)
            axis.set_title(title)
            axis.set_xticks(range(len(levels)), list(levels))
            axis.set_xlim(-0.3, len(levels) - 0.7)
            axis.set_xlabel(label)
        hide_beyond(axes, len(panels))
        figure.supylabel(f"{F1}, mean", fontsize=7)
        legend_of(figure)
    return figure


def _mean(points: pl.DataFrame) -> float | None:
    """Mean over data sets, each with the mean of its test sets."""
    return points.group_by("data").agg(pl.col("macro_f1").mean())["macro_f1"].mean()
