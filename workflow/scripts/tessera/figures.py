"""The figures, in one style: one column wide, colour-blind safe, every axis named."""

import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import polars as pl

from tessera.grid import JOINT, parse_threshold, parse_width
from tessera.io import atomic

mpl.use("Agg")

COLUMN = 3.4  # inches: one column of a two-column paper
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]  # Okabe and Ito
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
STYLE = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
F1 = "macro F1 on the test split"


def save(figure: plt.Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF and PNG, with no date in it."""
    for path, metadata in ((pdf, {"CreationDate": None}), (png, {})):
        with plt.rc_context(STYLE), atomic(path) as part:
            figure.savefig(part, format=path.suffix[1:], metadata=metadata)
    plt.close(figure)


def layer_width(scores: pl.DataFrame, model: str) -> plt.Figure:
    """Per data set: macro F1 by layer, a line per width, with 95 % intervals; the hidden states in grey.

    Each point is the pooling and threshold with the best cross-validated F1 inside the training split.
    """
    cells = scores.filter(model=model, split="test").sort("cv_macro_f1", descending=True, maintain_order=True)
    best = cells.unique(["features", "layer", "width", "data"], keep="first", maintain_order=True)
    names = sorted(best["data"].unique())
    widths = sorted(best["width"].drop_nulls().unique(), key=lambda width: (parse_width(width), width))
    layers = sorted(best["layer"].unique())
    place = {layer: index for index, layer in enumerate(layers)}
    with plt.rc_context(STYLE):
        rows = math.ceil(len(names) / 2)
        figure, axes = plt.subplots(
            rows, 2, figsize=(COLUMN, 0.6 + 0.9 * rows), sharex=True, sharey=True, squeeze=False
        )
        lines = [("hidden states", best.filter(features="hidden"), "0.55", "--", "x")]
        for index, width in enumerate(widths):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            lines.append(
                (
                    f"SAE, {width.replace('_', ' ')} latents",
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
                    _bars(points),
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
        _hide_beyond(axes, len(names))
        figure.supxlabel(f"layer of {model} (block, from 0)", fontsize=7)
        figure.supylabel(F1, fontsize=7)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0)
    return figure


def pooling_threshold(scores: pl.DataFrame, model: str) -> plt.Figure:
    """Mean over data sets of macro F1 and of the matrix density, by pooling and threshold.

    Layer and width of each entry are those with the best cross-validated F1 inside the training split.
    """
    cells = scores.filter(features="sae", model=model, split="test").sort(
        "cv_macro_f1", descending=True, maintain_order=True
    )
    best = cells.unique(["data", "pooling", "threshold"], keep="first", maintain_order=True)
    mean = best.group_by("pooling", "threshold").agg(pl.col("macro_f1", "density").mean())
    poolings = sorted(mean["pooling"].unique(), key=_pooling_order)
    thresholds = sorted(mean["threshold"].unique(), key=_threshold_order)
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


def baselines(best: pl.DataFrame) -> plt.Figure:
    """Per data set (and further test set): the best cell of each contestant, macro F1 with its 95 % interval.

    Best is by cross-validation inside the training split, never by the test score.
    """
    rows = best.select("data", "split").unique(maintain_order=True).rows()
    names = best["contestant"].unique(maintain_order=True).to_list()
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8 + 0.09 * len(names) * len(rows)))
        for index, name in enumerate(names):
            points = best.filter(contestant=name)
            place = {row: number for number, row in enumerate(rows)}
            y = [
                place[row] + 0.15 * (index - (len(names) - 1) / 2) for row in points.select("data", "split").iter_rows()
            ]
            axis.errorbar(
                points["macro_f1"],
                y,
                xerr=_bars(points),
                ls="none",
                marker=MARKERS[index],
                color=COLOURS[index],
                label=name,
                elinewidth=0.8,
                mfc="white" if name.startswith("random") else COLOURS[index],
            )
        labels = [data if split == "test" else f"{data}\n({split})" for data, split in rows]
        axis.set_yticks(range(len(rows)), labels)
        for number in range(1, len(rows)):
            axis.axhline(number - 0.5, color="0.9", lw=0.5, zorder=0)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel("macro F1 on test examples, 95 % interval")
        figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0, handletextpad=0.3)
    return figure


KINDS = {"sae": "SAE", "hidden": "hidden states", "tfidf": "TF-IDF"}


def transfer_matrix(best: pl.DataFrame) -> plt.Figure:
    """Macro F1 by source and target, a panel per kind of features; trained on a target's own data: the diagonal.

    The cell of each row is the one with the best cross-validated F1 on its source; intervals stand in the table.
    """
    whole = best.filter(~pl.col("control"), fraction=1.0).with_columns(
        row=pl.when(condition="translated").then(pl.col("source") + ", translated").otherwise("source")
    )
    rows = whole.sort(pl.col("source") == JOINT, "row")["row"].unique(maintain_order=True).to_list()
    targets = whole["target"].unique().sort().to_list()
    kinds = [kind for kind in KINDS if kind in whole["features"]]
    wide = 0.4 + 0.075 * max(map(len, rows)) + 0.36 * len(targets)
    with plt.rc_context(STYLE):
        height = 0.35 + len(kinds) * (0.25 + 0.2 * len(rows)) + 0.06 * max(map(len, targets))
        figure, axes = plt.subplots(len(kinds), 1, figsize=(max(COLUMN, wide), height), sharex=True, squeeze=False)
        low, high = whole["macro_f1"].min(), whole["macro_f1"].max()
        for axis, kind in zip(axes[:, 0], kinds, strict=True):
            values = np.full((len(rows), len(targets)), np.nan)
            for row, target, value in whole.filter(features=kind).select("row", "target", "macro_f1").iter_rows():
                values[rows.index(row), targets.index(target)] = value
            image = axis.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
            for (row, place), value in np.ndenumerate(values):
                colour = "white" if image.norm(value) < 0.5 else "black"
                text = "" if np.isnan(value) else f"{value:.2f}".lstrip("0")
                axis.text(place, row, text, ha="center", va="center", fontsize=6, color=colour)
            axis.set_title(KINDS[kind])
            axis.set_yticks(range(len(rows)), rows)
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        axes[-1, 0].set_xticks(range(len(targets)), targets, rotation=45, ha="right", rotation_mode="anchor")
        axes[-1, 0].set_xlabel("tested on")
        figure.supylabel("trained on", fontsize=7)
    return figure


def transfer_curves(best: pl.DataFrame) -> plt.Figure:
    """Per target: macro F1 of the best SAE cell against the share of the training split, with 95 % intervals.

    Of hidden states or TF-IDF in a study without SAEs.

    Trained on the target's own data, on all sources together, and (thin) on each other source.
    """
    cells = best.filter(~pl.col("control"))
    cells = cells.filter(features=next(kind for kind in KINDS if kind in cells["features"]))
    targets = cells["target"].unique().sort().to_list()
    styles = {"native": (COLOURS[0], 1.0, "own data"), "joint": (COLOURS[2], 1.0, "all sources together")}
    styles |= {"source": (COLOURS[1], 0.5, "another set"), "translated": (COLOURS[3], 0.5, "another set, translated")}
    with plt.rc_context(STYLE):
        rows = math.ceil(len(targets) / 2)
        size = (COLUMN, 0.7 + 1.0 * rows)
        figure, axes = plt.subplots(rows, 2, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis, target in zip(axes.flat, targets, strict=False):
            for (condition, _), curve in cells.filter(target=target).group_by(
                "condition", "source", maintain_order=True
            ):
                colour, width, label = styles[condition]
                curve = curve.sort("fraction")
                bars = _bars(curve) if condition in ("native", "joint") else None
                axis.errorbar(
                    curve["fraction"], curve["macro_f1"], bars, color=colour, lw=width, elinewidth=0.6, marker="o",
                    markersize=2.5, label=label,
                )  # fmt: skip
            axis.set_title(target)
            axis.set_xscale("log")
            shares = cells["fraction"].unique().sort().to_list()
            axis.set_xticks(shares, [f"{share:g}" for share in shares], rotation=45)
            axis.minorticks_off()
        _hide_beyond(axes, len(targets))
        figure.supxlabel("share of the training split", fontsize=7)
        figure.supylabel(F1, fontsize=7)
        found = dict(pair[::-1] for axis in axes.flat for pair in zip(*axis.get_legend_handles_labels(), strict=True))
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def _hide_beyond(axes: np.ndarray, number: int) -> None:
    """Hide all but the first `number` axes; the lowest one shown in each column has tick labels."""
    for axis in axes.flat[number:]:
        axis.set_visible(False)
    for column in axes.T:
        shown = [axis for axis in column if axis.get_visible()]
        if shown:
            shown[-1].xaxis.set_tick_params(labelbottom=True)


def _bars(points: pl.DataFrame) -> np.ndarray:
    """Distances [2, n] from the value to the ends of its interval."""
    value, low, high = (points[name].to_numpy() for name in ("macro_f1", "macro_f1_low", "macro_f1_high"))
    return np.clip(np.vstack([value - low, high - value]), 0, None)


def _pooling_order(pooling: str) -> tuple[int, int]:
    order = ["sum", "mean", "max", "last", "count"]
    return (order.index(pooling), 0) if pooling in order else (len(order), int(pooling.removeprefix("top")))


def _threshold_order(threshold: str) -> tuple[int, float]:
    kind, value = parse_threshold(threshold)
    return ["none", "fixed", "quantile"].index(kind), value or 0.0
