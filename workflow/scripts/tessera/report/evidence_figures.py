"""Figures of evidence: what latents add to a decision, how few suffice, what later layers lose without them."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from tessera.report.colours import COLOURS
from tessera.report.style import COLUMN, MARKERS, STYLE, look

LONGEST = 46  # characters of a latent's name
MOST_NAMED = 12  # classes that a legend holds
RANKINGS = {
    "probe": ("latents of the probe", COLOURS[0]),
    "difference": ("by difference of means", COLOURS[2]),
    "random": ("random latents", COLOURS[1]),
    "hidden": ("directions of hidden states", "0.3"),
}
KINDS = {
    "probe": "latents of the probe",
    "random": "random latents",
    "difference": "difference of class means",
    "all": "all latents",
}
METRICS = {"macro_f1": "macro F1", "roc_auc": "ROC AUC"}
STATES = {"whole": "hidden states, whole", "computed": "beside what is taken out"}


def contributions(shown: pl.DataFrame) -> plt.Figure:
    """A bar per class and shown latent: what it adds to telling the class, on test texts; with its name."""
    shown = shown.filter(pl.col("nth").is_not_null())
    names = shown["class"].unique(maintain_order=True).to_list() or ["none: no latent speaks for any"]
    sizes = [len(shown.filter(pl.col("class") == name)) for name in names]
    with plt.rc_context(STYLE):
        height = 0.5 + 0.16 * sum(sizes) + 0.22 * len(names)
        figure, axes = plt.subplots(
            len(names), 1, figsize=(2 * COLUMN, height), sharex=True, squeeze=False,
            gridspec_kw={"height_ratios": [max(1, size) for size in sizes]},
        )  # fmt: skip
        for axis, name, (colour, _) in zip(axes.flat, names, map(look, range(len(names))), strict=True):
            rows = shown.filter(pl.col("class") == name)
            axis.barh(range(len(rows)), rows["contribution_gap"], color=colour, height=0.7)
            axis.set_yticks(range(len(rows)), [_named(row) for row in rows.iter_rows(named=True)], parse_math=False)
            axis.set_ylim(len(rows) - 0.4, -0.6)
            axis.axvline(0, color="0.5", lw=0.6)
            axis.set_title(f"class {name}", loc="left", parse_math=False)
        axes.flat[-1].set_xlabel("contribution to the decision on test texts of the class, less that on others")
    return figure


def _named(row: dict) -> str:
    """A latent's number, and what it is called, or else the tokens that fire it."""
    name = row["explanation"] or row["fires_on"] or ""
    name = "".join(sign if sign.isprintable() else " " for sign in name)
    name = name if len(name) <= LONGEST else f"{name[:LONGEST]}…"
    return f"{name}  {row['latent']}{'*' if row['unspecific'] else ''}"


def maps(places: pl.DataFrame) -> plt.Figure:
    """Of one place: its examples in a plane, by latents and by hidden states, coloured by label; rings test."""
    names = places["label"].unique().sort().to_list()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(2 * COLUMN, COLUMN))
        for axis, title in zip(axes, places["map"].unique(maintain_order=True), strict=True):
            for number, name in enumerate(names):
                colour, marker = look(number)
                rows = places.filter(map=title, label=name)
                face = np.where(rows["split"] == "train", colour, "none").tolist()
                axis.scatter(
                    rows["x"], rows["y"], s=8, lw=0.6, edgecolors=colour, facecolors=face, marker=marker, label=name
                )
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel("UMAP 1")
            axis.set_ylabel("UMAP 2")
        if len(names) <= MOST_NAMED:
            handles, labels = axes[0].get_legend_handles_labels()
            legend = figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)
    return figure


def sufficiency(curves: pl.DataFrame) -> plt.Figure:
    """Macro F1 over k, a panel per measure: of a probe on k latents alone, and without k latents; with controls."""
    measures = curves["measure"].drop_nulls().unique(maintain_order=True).to_list()
    whole = curves.filter(pl.col("measure").is_null())["macro_f1"][0]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(measures), figsize=(2 * COLUMN, 2.0), sharex=True, sharey=True, squeeze=False
        )
        for axis, measure in zip(axes.flat, measures, strict=True):
            axis.axhline(whole, color="0.6", lw=0.8, ls="--", label="all latents")
            for number, (ranking, (label, colour)) in enumerate(RANKINGS.items()):
                curve = curves.filter(measure=measure, ranking=ranking)
                if len(curve):
                    axis.plot(curve["k"], curve["macro_f1"], color=colour, marker=MARKERS[number], label=label)
                    axis.fill_between(
                        curve["k"], curve["macro_f1_low"], curve["macro_f1_high"], color=colour, alpha=0.12, lw=0
                    )
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_title(measure)
            axis.set_xlabel("k")
        axes.flat[0].set_ylabel("macro F1 on the test split")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, columnspacing=1.0)
    return figure


def ablation(drops: pl.DataFrame) -> plt.Figure:
    """What probes of later layers lose, by layer: whole hidden states, and what later layers computed; two metrics."""
    macro = drops.filter(pl.col("of").is_null() & pl.col("class").is_null())
    layers = macro["at_layer"].unique().sort().to_list()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(METRICS), len(STATES), figsize=(2 * COLUMN, 3.2), sharex=True, sharey=True, squeeze=False
        )
        for row, (metric, label) in zip(axes, METRICS.items(), strict=True):
            row[0].set_ylabel(f"{label} lost")
            for axis, states in zip(row, STATES, strict=True):
                _drops(axis, macro.filter(metric=metric, states=states), max(1, layers[-1] - layers[0]))
                axis.set_xticks(layers)
        for axis, title in zip(axes[0], STATES.values(), strict=True):
            axis.set_title(title)
        for axis in axes[-1]:
            axis.set_xlabel("layer whose hidden states are probed")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, columnspacing=1.0)
    return figure


def _drops(axis: plt.Axes, drops: pl.DataFrame, span: int) -> None:
    """A line per kind of set, side by side."""
    axis.axhline(0, color="0.5", lw=0.6)
    for number, (kind, label) in enumerate(KINDS.items()):
        curve = drops.filter(kind=kind).sort("at_layer")
        colour, marker = look(number)
        ends = np.vstack([curve["drop"] - curve["drop_low"], curve["drop_high"] - curve["drop"]])
        axis.errorbar(
            curve["at_layer"].to_numpy() + span / 100 * (number - 1.5), curve["drop"], yerr=np.clip(ends, 0, None),
            color=colour, marker=marker, elinewidth=0.6, label=label,
        )  # fmt: skip


def recovery(table: pl.DataFrame) -> plt.Figure:
    """A row per SAE, a point per draw: how well its latents match the known directions, and how many it has of them."""
    names = _saes(table)
    with plt.rc_context(STYLE):
        height = 0.7 + 0.18 * names.n_unique()
        figure, (axis, shares) = plt.subplots(1, 2, figsize=(2 * COLUMN, height), sharex=True, sharey=True)
        axis.plot(table["null_mcc"], names, ls="none", marker="|", color="0.5", label="as many random directions")
        axis.plot(table["mcc"], names, ls="none", marker=MARKERS[0], color=COLOURS[0], label="latents")
        shares.plot(table["recovered"], names, ls="none", marker=MARKERS[0], color=COLOURS[0])
        axis.set_xlim(-0.03, 1.03)
        axis.margins(y=0.2)
        axis.invert_yaxis()
        axis.set_xlabel("mean absolute cosine of matched pairs (MCC)")
        shares.set_xlabel("share of known directions matched over .9")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def true_latents(table: pl.DataFrame) -> plt.Figure:
    """A row per known direction that makes a class, a mark per SAE: the rank of its latent for the class.

    Filled where it is among the first, as many as directions make the class; at the right edge where it has no rank.
    """
    rows = pl.format("{}, {}: {}", "data", "class", "direction")
    wanted = pl.len().over("model", "layer", "width", "data", "class")
    table = table.with_columns(row=rows, wanted=wanted, sae=_saes(table))
    names = table["row"].unique(maintain_order=True).to_list()
    saes = table["sae"].unique(maintain_order=True).to_list()
    edge = 2 * max(2, table["rank"].max() or 0)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8 + 0.06 * (len(saes) + 1) * len(names)))
        for number, sae in enumerate(saes):
            here, (colour, marker) = table.filter(sae=sae), look(number)
            y = np.array([names.index(row) for row in here["row"]]) + 0.7 * ((number + 0.5) / len(saes) - 0.5)
            first = (here["rank"] <= here["wanted"]).fill_null(False).to_numpy()
            for chosen, fill, label in ((first, colour, sae), (~first, "white", None)):
                x = here["rank"].fill_null(edge).to_numpy()[chosen]
                axis.plot(x, y[chosen], ls="none", marker=marker, color=colour, mfc=fill, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xlim(0.8, 1.2 * edge)
        ticks = [2**power for power in range(int(np.log2(edge)))]
        axis.set_xticks([*ticks, edge], [*map(str, ticks), "none"])
        axis.set_yticks(range(len(names)), names, parse_math=False)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlabel("rank among the latents that speak for the class")
        figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0, handletextpad=0.3)
    return figure


def _saes(table: pl.DataFrame) -> pl.Series:
    """The SAE of each row by its name; without the model and layer where there is one place alone."""
    one = table.select("model", "layer").n_unique() < 2
    return table.select(pl.col("width") if one else pl.format("{}/{}/{}", "model", "layer", "width")).to_series()
