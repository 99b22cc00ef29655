"""Figures of a match: how well latents correlate with their partners, and what a carried probe scores."""

import math

import matplotlib.pyplot as plt
import polars as pl

from tessera.report.colours import COLOURS
from tessera.report.style import COLUMN, MARKERS, STYLE, bars, hide_beyond

CURVES = {
    "one_to_one": ("matched one to one", COLOURS[0]),
    "directions": ("random directions, matched so", COLOURS[1]),
    "shuffled": ("matched, rows shuffled", "0.55"),
}
SMALLEST = 1e-3  # share of the latents that the axis starts at
# condition and over → name, and colour: what is to be kept and reached, matched, controls
CONDITIONS = {
    ("source", None): ("probe on its own SAE", "0.4"),
    ("native", None): ("target's own probe", "0.7"),
    ("identity", None): ("same latents", COLOURS[3]),
    ("one_to_one", "examples"): ("one to one, over examples", COLOURS[0]),
    ("one_to_one", "tokens"): ("one to one, over tokens", COLOURS[5]),
    ("best_match", "examples"): ("best match, over examples", COLOURS[2]),
    ("best_match", "tokens"): ("best match, over tokens", COLOURS[4]),
    ("ridge", None): ("hidden states, ridge map", COLOURS[6]),
    ("directions", "examples"): ("random directions", COLOURS[1]),
    ("random", "examples"): ("random match", COLOURS[1]),
    ("random_sae", None): ("random SAEs, same latents", COLOURS[1]),
    ("random_sae", "examples"): ("random SAEs, one to one", COLOURS[1]),
}


def correlations(histograms: pl.DataFrame) -> plt.Figure:
    """Share of latents by the correlation with their partner, a panel per pooling, and one over tokens."""
    panels = histograms.select("over", "pooling").unique(maintain_order=True).sort("over", maintain_order=True).rows()
    with plt.rc_context(STYLE):
        rows = math.ceil(len(panels) / 2)
        figure, axes = plt.subplots(
            rows, 2, figsize=(COLUMN, 0.7 + 1.1 * rows), sharex=True, sharey=True, squeeze=False
        )
        for axis, (over, pooling) in zip(axes.flat, panels, strict=False):
            for of, (label, colour) in CURVES.items():
                curve = histograms.filter(pl.col("pooling").eq_missing(pooling), over=over, of=of)
                if len(curve):
                    edges = [*curve["low"], curve["high"][-1]]
                    axis.stairs(curve["latents"] / max(1, curve["latents"].sum()), edges, label=label, color=colour)
            axis.set_title(f"over examples, {pooling}" if over == "examples" else "over tokens")
            axis.set_xlim(0, 1)
            axis.set_yscale("log")
            axis.set_ylim(SMALLEST, 1)
        hide_beyond(axes, len(panels))
        figure.supxlabel("correlation with the partner", fontsize=7)
        figure.supylabel("share of the matched latents", fontsize=7)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, columnspacing=1.0)
    return figure


def scores(best: pl.DataFrame) -> plt.Figure:
    """Macro F1 of each condition on the test split, with 95 % intervals: a column per direction, a panel per data set.

    Every cell is chosen by the source probe's cross-validated F1, that of the target's own probe by its own.
    """
    best = best.filter(pl.col("condition").is_in(["ridge"]) | (pl.col("features") == "sae"), split="test")
    sources, names = (best[key].unique(maintain_order=True).to_list() for key in ("source", "data"))
    found = set(best.select("condition", "over").iter_rows())
    shown = [condition for condition in CONDITIONS if condition in found]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(names), len(sources), figsize=(COLUMN, 0.6 + (0.35 + 0.11 * len(shown)) * len(names)),
            sharex=True, sharey=True, squeeze=False,
        )  # fmt: skip
        for (row, column), axis in ((place, axes[place]) for place in _places(axes)):
            here = best.filter(source=sources[column], data=names[row])
            for y, condition in enumerate(shown):
                colour = CONDITIONS[condition][1]
                point = here.filter(pl.col("over").eq_missing(condition[1]), condition=condition[0])
                control = condition[0].startswith("random")
                axis.errorbar(
                    point["macro_f1"], [y] * len(point), xerr=bars(point), ls="none", marker=MARKERS[0], color=colour,
                    mfc="white" if control else colour, elinewidth=0.8,
                )  # fmt: skip
            axis.set_yticks(range(len(shown)), [CONDITIONS[condition][0] for condition in shown])
            axis.set_ylim(len(shown) - 0.4, -0.6)
            axis.grid(axis="x", color="0.92", lw=0.5)
            axis.set_axisbelow(True)
            if row == 0:
                axis.set_title(f"from {sources[column]}\nto {here['target'][0]}\n{names[row]}", fontsize=6)
            else:
                axis.set_title(names[row])
        figure.supxlabel("macro F1 on test examples, 95 % interval", fontsize=7)
    return figure


def _places(axes) -> list[tuple[int, int]]:
    return [(row, column) for row in range(axes.shape[0]) for column in range(axes.shape[1])]
