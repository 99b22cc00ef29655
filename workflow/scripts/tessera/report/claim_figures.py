"""The figures of claims and of behaviour: what was found, with its interval."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from tessera.report.colours import COLOURS
from tessera.report.style import COLUMN, STYLE, bars, legend_of, looks
from tessera.results.contestants import ALL, THESE, present
from tessera.steering.measures import NATS

VERDICTS = {"holds": COLOURS[2], "undecided": "0.6", "fails": COLOURS[1]}
ENDS = ("difference", "difference_low", "difference_high")
ROLES = {"source": COLOURS[0], "target": COLOURS[2], "control": "0.45"}


def claims(found: pl.DataFrame) -> plt.Figure:
    """A row per claim: the effect on each data set as a tick coloured by its verdict, on all together as a diamond.

    The diamond is for data sets to come (where there is such a row; else for these), in the colour of its verdict, with
    the interval of its level; the numbers at the right count the data sets on which the claim holds, is undecided, and
    fails. The primary claim is in bold. Differences in nats are counted and not drawn: they have no place on this axis.
    """
    scored = found.filter(~pl.col("metric").is_in(NATS).fill_null(False))
    names = found["claim"].unique(maintain_order=True).to_list()
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(2 * COLUMN, 0.7 + 0.19 * len(names)))
        axis.axvline(0, color="0.5", lw=0.6, zorder=0)
        for y, name in enumerate(names):
            rows, counted = (some.filter(claim=name) for some in (scored, found))
            each, counted = (some.filter(~pl.col("on").is_in([ALL, THESE])) for some in (rows, counted))
            for verdict, colour in VERDICTS.items():
                axis.plot(
                    each.filter(verdict=verdict)["difference"],
                    np.full((each["verdict"] == verdict).sum(), y),
                    ls="none",
                    marker="|",
                    ms=7,
                    mew=1.4,
                    color=colour,
                )
            whole = pl.concat([rows.filter(on=ALL), rows.filter(on=THESE), each]).head(1)
            for mean, low, high, verdict in whole.select(*ENDS, "verdict").iter_rows():
                axis.errorbar(
                    mean,
                    y,
                    xerr=[[mean - low], [high - mean]],
                    fmt="D",
                    ms=3.5,
                    color=VERDICTS[verdict],
                    mfc="white",
                    elinewidth=0.8,
                )
            counts = " / ".join(str((counted["verdict"] == verdict).sum()) for verdict in VERDICTS)
            axis.annotate(counts, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=6)
        axis.annotate("holds / undecided / fails", (1.01, -0.8), xycoords=("axes fraction", "data"), fontsize=6)
        axis.set_yticks(range(len(names)), names)
        for label, name in zip(axis.get_yticklabels(), names, strict=True):
            label.set_fontweight("bold" if "primary" in found.filter(claim=name)["role"] else "normal")
        differences = scored["difference"].drop_nulls().to_list()
        axis.set_xlim(min([*differences, -0.05]) - 0.05, max([*differences, 0.05]) + 0.05)
        axis.set_ylim(len(names) - 0.5, -0.6)
        axis.set_xlabel("difference in macro F1, or another score (left − right)")
        handles = [
            plt.Line2D([], [], ls="none", marker="|", ms=7, mew=1.4, color=colour, label=verdict)
            for verdict, colour in VERDICTS.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def search(table: pl.DataFrame) -> plt.Figure:
    """Mean over data sets of the macro F1 to expect of the best of k cells, a line per contestant.

    Chosen by cross-validation, scored on the test split. Where a line still rises, its contestant owes some of its
    score to the size of its search.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 2.5))
        for name, (colour, marker) in looks(present(table["contestant"])).items():
            mine = table.filter(contestant=name)
            points = (
                mine.group_by("cells_searched").agg(pl.col("macro_f1").mean(), sets=pl.len()).sort("cells_searched")
            )
            points = points.filter(pl.col("sets") == mine["data"].n_unique())  # a mean over fewer is another line
            axis.plot(*points.select("cells_searched", "macro_f1"), color=colour, marker=marker, label=name)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("cells searched")
        axis.set_ylabel(f"expected macro F1 (mean of {table['data'].n_unique()} sets)")
        axis.xaxis.set_major_formatter("{x:g}")
        legend_of(figure)
    return figure


def behaviour(table: pl.DataFrame) -> plt.Figure:
    """Per data set whose labels are what a model did: macro F1 of whoever predicts it, with 95 % intervals.

    Each mark is the cell with the best cross-validated F1 of its kind.
    """
    table = table.filter(split="test")
    sets = table["data"].unique(maintain_order=True).to_list()
    rows = [len(table.filter(data=data)) for data in sets]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(sets),
            1,
            figsize=(COLUMN, 0.6 + 0.45 * len(sets) + 0.13 * sum(rows)),
            sharex=True,
            squeeze=False,
            height_ratios=rows,
        )
        for axis, data in zip(axes[:, 0], sets, strict=True):
            part = table.filter(data=data)
            for y, (role, points) in enumerate(
                (row["role"], part[y]) for y, row in enumerate(part.iter_rows(named=True))
            ):
                axis.errorbar(points["macro_f1"], [y], xerr=bars(points), fmt="o", color=ROLES[role], elinewidth=0.8)
            axis.set_yticks(range(len(part)), part["contestant"])
            axis.set_ylim(len(part) - 0.5, -0.5)
            target = part["target"][0]
            axis.set_title(f"{data}: what {target} did" if target else data)
        axes[-1, 0].set_xlabel("macro F1, 95 % interval")
        labels = {"source": "source", "target": "the model itself", "control": "control"}
        handles = [
            plt.Line2D([], [], ls="none", marker="o", color=ROLES[role], label=label) for role, label in labels.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure
