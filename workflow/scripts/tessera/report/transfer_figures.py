"""The figures of transfer: who carries over to whom, what that is worth, and where it is lost."""

import math

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from tessera.features.pooling import pooling_order
from tessera.features.registry import KINDS
from tessera.probes.repeats import combined
from tessera.report.colours import COLOURS
from tessera.report.style import COLUMN, F1, STYLE, bars, hide_beyond
from tessera.results.contestants import TRAINED
from tessera.study.grid import parse_width, threshold_order
from tessera.study.paths import JOINT


def matrix(best: pl.DataFrame, *, intervals: bool = False) -> plt.Figure:
    """Macro F1 by source and target, a panel per kind of features; trained on a target's own data: the diagonal.

    The cell of each row is the one with the best cross-validated F1 on its source. `intervals` writes the 95 % interval
    below each value.
    """
    whole = _over_repeats(best.filter(TRAINED, fraction=1.0)).with_columns(
        row=pl.when(condition="translated").then(pl.col("source") + ", translated").otherwise("source")
    )
    rows = whole.sort(pl.col("source") == JOINT, "row")["row"].unique(maintain_order=True).to_list()
    targets = whole["target"].unique().sort().to_list()
    kinds = [kind for kind in KINDS.values() if kind.name in whole["features"]]
    wide = 0.4 + 0.075 * max(map(len, rows)) + 0.36 * len(targets)
    with plt.rc_context(STYLE):
        tall = 0.36 if intervals else 0.2
        height = 0.35 + len(kinds) * (0.25 + tall * len(rows)) + 0.06 * max(map(len, targets))
        figure, axes = plt.subplots(len(kinds), 1, figsize=(max(COLUMN, wide), height), sharex=True, squeeze=False)
        low, high = whole["macro_f1"].min(), whole["macro_f1"].max()
        ends = _ends(whole) if intervals else {}
        for axis, kind in zip(axes[:, 0], kinds, strict=True):
            values = np.full((len(rows), len(targets)), np.nan)
            for row, target, value in whole.filter(features=kind.name).select("row", "target", "macro_f1").iter_rows():
                values[rows.index(row), targets.index(target)] = value
            image = axis.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
            for (row, place), value in np.ndenumerate(values):
                colour = "white" if image.norm(value) < 0.5 else "black"
                text = (
                    ""
                    if np.isnan(value)
                    else f"{value:.2f}".lstrip("0") + ends.get((kind.name, rows[row], targets[place]), "")
                )
                axis.text(place, row, text, ha="center", va="center", fontsize=6, color=colour)
            axis.set_title(kind.title)
            axis.set_yticks(range(len(rows)), rows)
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        axes[-1, 0].set_xticks(range(len(targets)), targets, rotation=45, ha="right", rotation_mode="anchor")
        axes[-1, 0].set_xlabel("tested on")
        figure.supylabel("trained on", fontsize=7)
    return figure


def matrix_intervals(best: pl.DataFrame) -> plt.Figure:
    """The same with the 95 % interval of each entry below it."""
    return matrix(best, intervals=True)


def _over_repeats(best: pl.DataFrame) -> pl.DataFrame:
    """A row per probe, its repeats as one, whichever cell each of them chose."""
    return combined(best, ["scenario", "source", "target", "condition", "fraction", "features"])


def _ends(whole: pl.DataFrame) -> dict[tuple, str]:
    """The interval of each entry, for a second line below its value."""
    columns = ("features", "row", "target", "macro_f1_low", "macro_f1_high")
    return {
        tuple(place): f"\n{low:.2f}–{high:.2f}".replace("0.", ".")
        for *place, low, high in whole.select(columns).iter_rows()
    }


def curves(best: pl.DataFrame) -> plt.Figure:
    """Per target: macro F1 of the best SAE cell against the share of the training split, with 95 % intervals.

    Of hidden states or TF-IDF in a study without SAEs.

    Trained on the target's own data, on all sources together, and (thin) on each other source.
    """
    cells = _over_repeats(best.filter(TRAINED))
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
                error = bars(curve) if condition in ("native", "joint") else None
                axis.errorbar(
                    curve["fraction"], curve["macro_f1"], error, color=colour, lw=width, elinewidth=0.6, marker="o",
                    markersize=2.5, label=label,
                )  # fmt: skip
            axis.set_title(target)
            axis.set_xscale("log")
            shares = cells["fraction"].unique().sort().to_list()
            axis.set_xticks(shares, [f"{share:g}" for share in shares], rotation=45)
            axis.minorticks_off()
        hide_beyond(axes, len(targets))
        figure.supxlabel("share of the training split", fontsize=7)
        figure.supylabel(F1, fontsize=7)
        found = dict(pair[::-1] for axis in axes.flat for pair in zip(*axis.get_legend_handles_labels(), strict=True))
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=2, frameon=False)
    return figure


AXES = {
    "layer": int,
    "width": lambda width: (parse_width(width), width),
    "pooling": pooling_order,
    "threshold": threshold_order,
}


def gap(scores: pl.DataFrame) -> plt.Figure:
    """What transfer costs, by layer, width, pooling and threshold: native above, zero-shot below, a line between.

    `scores` is the table transfer of one scenario. Each pair is one cell of the grid, trained on the target's own data
    and on a source; points are means over sources, targets and the other axes, so no cell is chosen.
    """
    cell = ["model", "layer", "width", "pooling", "threshold", "target", "repeat"]
    whole = scores.filter(TRAINED, features="sae", fraction=1.0)
    native = whole.filter(condition="native").select(*cell, native="macro_f1")
    pairs = whole.filter(condition="source").join(native, on=cell)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(COLUMN, 2.8), sharey=True)
        for axis, (name, order) in zip(axes.flat, AXES.items(), strict=True):
            mean = pairs.group_by(name).agg(pl.col("native", "macro_f1").mean())
            values = sorted(mean[name], key=order)
            mean = mean.sort(pl.col(name).cast(pl.String).replace_strict([*map(str, values)], range(len(values))))
            x = np.arange(len(values))
            axis.vlines(x, mean["macro_f1"], mean["native"], color="0.7", lw=2)
            axis.plot(x, mean["native"], ls="none", marker="o", color=COLOURS[0], label="own data")
            axis.plot(x, mean["macro_f1"], ls="none", marker="s", color=COLOURS[1], label="another set (zero-shot)")
            for place, (low, high) in enumerate(mean.select("macro_f1", "native").iter_rows()):
                text = f"{low - high:+.2f}".replace("0.", ".")
                axis.annotate(text, (place, (low + high) / 2), xytext=(3, 0), textcoords="offset points", fontsize=5.5)
            labels = [value.replace("_", " ") if isinstance(value, str) else str(value) for value in values]
            axis.set_xticks(x, labels, rotation=45 if max(map(len, labels)) > 4 else 0)
            axis.set_xlim(-0.5, len(values) - 0.3)
            axis.set_title(name)
        figure.supylabel(F1, fontsize=7)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure
