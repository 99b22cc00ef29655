"""The figures of the grid: contestants, layers and widths, poolings and thresholds, selections."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from tessera.features.pooling import pooling_order
from tessera.features.registry import KINDS
from tessera.probes.registry import LOGISTIC
from tessera.report.style import COLUMN, F1, STYLE, bars, hide_beyond, legend_of, look, looks
from tessera.results.contestants import CONTESTANTS, CONTROLS, present
from tessera.study.grid import SELECTIONS, parse_width, threshold_order

SAE = CONTESTANTS[KINDS["sae"].title]


def layer_width(scores: pl.DataFrame) -> plt.Figure:
    """Of one model, per data set: macro F1 by layer, a line per width, with 95 % intervals; the hidden states in grey.

    Each point is the pooling and threshold with the best cross-validated F1 inside the training split, of logistic
    regressions, as in all figures of the grid.
    """
    cells = scores.filter(probe=LOGISTIC, split="test").sort("cv_macro_f1", descending=True, maintain_order=True)
    best = cells.unique(["features", "layer", "width", "data"], keep="first", maintain_order=True)
    names = sorted(best["data"].unique())
    widths = sorted(best["width"].drop_nulls().unique(), key=lambda width: (parse_width(width), width))
    layers = sorted(best["layer"].unique())
    place = {layer: index for index, layer in enumerate(layers)}
    with plt.rc_context(STYLE):
        rows = math.ceil(len(names) / 2)
        figure, axes = plt.subplots(
            rows, 2, figsize=(COLUMN, 0.6 + 0.9 * max(rows, 1.5)), sharex=True, sharey=True, squeeze=False
        )
        lines = [(KINDS["hidden"].title, best.filter(features="hidden"), "0.55", "--", "x")]
        for index, width in enumerate(widths):
            colour, marker = look(index)
            lines.append(
                (
                    f"{KINDS['sae'].title}, {width.replace('_', ' ')} latents",
                    best.filter(features="sae", width=width),
                    colour,
                    "-",
                    marker,
                )
            )
        for axis, name in zip(axes.flat, names, strict=False):
            for index, (label, points, colour, line, marker) in enumerate(lines):
                points = points.filter(data=name).sort("layer")
                shift = 0.12 * (index - (len(lines) - 1) / 2)
                x = np.array([place[layer] for layer in points["layer"]]) + shift
                axis.errorbar(
                    x,
                    points["macro_f1"],
                    bars(points),
                    label=label,
                    color=colour,
                    ls=line,
                    marker=marker,
                    elinewidth=0.6,
                )
            axis.set_title(name)
            axis.set_xticks(range(len(layers)), [str(layer) for layer in layers])
            axis.set_xlim(-0.5, len(layers) - 0.5)
            axis.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        hide_beyond(axes, len(names))
        figure.supxlabel(f"layer of {scores['model'][0]} (block, from 0)", fontsize=7)
        figure.supylabel(F1, fontsize=7)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0)
    return figure


def pooling_threshold(scores: pl.DataFrame) -> plt.Figure:
    """Of one model: mean over data sets of macro F1 and of the matrix density, by pooling and threshold.

    Layer and width of each entry are those with the best cross-validated F1 inside the training split.
    """
    cells = scores.filter(SAE, split="test").sort("cv_macro_f1", descending=True, maintain_order=True)
    best = cells.unique(["data", "pooling", "threshold"], keep="first", maintain_order=True)
    mean = best.group_by("pooling", "threshold").agg(pl.col("macro_f1", "density").mean())
    poolings = sorted(mean["pooling"].unique(), key=pooling_order)
    thresholds = sorted(mean["threshold"].unique(), key=threshold_order)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(COLUMN, 0.75 + 0.27 * len(poolings)), sharey=True)
        for axis, column, title, colours in (
            (axes[0], "macro_f1", f"macro F1 (mean of {best['data'].n_unique()} sets)", "cividis"),
            (axes[1], "density", "density of the matrix", "Greys"),
        ):
            values = np.full((len(poolings), len(thresholds)), np.nan)
            for pooling, threshold, value in mean.select("pooling", "threshold", column).iter_rows():
                values[poolings.index(pooling), thresholds.index(threshold)] = value
            image = axis.imshow(values, cmap=colours, aspect="auto", **({"vmin": 0} if column == "density" else {}))
            for (row, place), value in np.ndenumerate(values):
                dark = image.norm(value) > 0.5 if column == "density" else image.norm(value) < 0.5
                text = f"{value:.3f}".lstrip("0") if column == "macro_f1" else f"{value:.2f}"
                axis.text(place, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
            axis.set_title(title)
            axis.set_xticks(range(len(thresholds)), thresholds)
            axis.set_yticks(range(len(poolings)), poolings)
            axis.set_xlabel("threshold")
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        axes[0].set_ylabel("pooling")
    return figure


def selection(scores: pl.DataFrame) -> plt.Figure:
    """Of one model: mean over data sets of macro F1 by number of selected latents; dashed: all latents.

    Layer, width, pooling and threshold of each point are those with the best cross-validated F1 inside the training
    split.
    """
    cells = scores.filter(SAE, split="test").with_columns(
        kind=pl.when(threshold="none").then(pl.lit("real-valued")).otherwise(pl.lit("binarised")),
        method=pl.col("selection").str.extract(r"^([a-z0-9]+)-"),
        k=pl.col("selection").str.extract(r"-([0-9]+)$").cast(pl.Int64),
    )
    best = cells.sort("cv_macro_f1", descending=True, maintain_order=True)
    best = best.unique(["data", "kind", "selection"], keep="first", maintain_order=True)
    mean = best.group_by("kind", "method", "k").agg(pl.col("macro_f1").mean()).sort("method", "k")
    methods = mean["method"].drop_nulls().unique().sort().to_list()
    kinds = [kind for kind in ("real-valued", "binarised") if kind in mean["kind"]]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(kinds), figsize=(COLUMN, 1.8), sharex=True, sharey=True, squeeze=False)
        for axis, kind in zip(axes[0], kinds, strict=True):
            for index, method in enumerate(methods):
                line = mean.filter(kind=kind, method=method)
                axis.plot(
                    line["k"], line["macro_f1"], color=look(index)[0], marker=look(index)[1], label=SELECTIONS[method]
                )
            for value in mean.filter(pl.col("method").is_null(), kind=kind)["macro_f1"]:
                axis.axhline(value, color="0.4", ls="--", label="all latents")
            axis.set_title(kind)
            axis.set_xscale("log", base=2)
            axis.set_xticks(mean["k"].drop_nulls().unique().sort().to_list())
            axis.xaxis.set_major_formatter("{x:.0f}")
        figure.supxlabel("latents selected", fontsize=7)
        figure.supylabel(f"macro F1 (mean of {best['data'].n_unique()} sets)", fontsize=7)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0)
    return figure


def baselines(best: pl.DataFrame) -> plt.Figure:
    """Per data set (and further test set): the best cell of each contestant, macro F1 with its 95 % interval.

    Best is by cross-validation inside the training split, never by the test score.
    """
    rows = best.select("data", "split").unique(maintain_order=True).rows()
    named = looks(present(best["contestant"]))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8 + 0.09 * len(named) * len(rows)))
        for index, (name, (colour, marker)) in enumerate(named.items()):
            points = best.filter(contestant=name)
            place = {row: number for number, row in enumerate(rows)}
            shift = min(0.15, 0.9 / len(named)) * (index - (len(named) - 1) / 2)
            y = [place[row] + shift for row in points.select("data", "split").iter_rows()]
            axis.errorbar(
                points["macro_f1"],
                y,
                xerr=bars(points),
                ls="none",
                marker=marker,
                color=colour,
                label=name,
                elinewidth=0.8,
                mfc="white" if name in CONTROLS else colour,
            )
        labels = [data if split == "test" else f"{data}\n({split})" for data, split in rows]
        axis.set_yticks(range(len(rows)), labels)
        for number in range(1, len(rows)):
            axis.axhline(number - 0.5, color="0.9", lw=0.5, zorder=0)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel("macro F1 on test examples, 95 % interval")
        legend_of(figure)
    return figure
