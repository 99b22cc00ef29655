"""Figures of interventions: what steering changed against what it harmed, what an eraser leaves of a label."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes

from tessera.report.style import COLUMN, STYLE, hide_beyond, legend_of, looks
from tessera.steering.measures import CHANCE, EFFECTS, ERASERS, KL, REPORT, STATES, title

LABELS = {
    "answers": "log-odds of the answer [nats]",
    "reader": "probability, another probe",
    "tfidf": "probability, TF-IDF",
    "judge": "score of the judge",
    STATES: "probability, a later layer",
}
HARM = "harm: KL on neutral text [nats a token]"


def steering(table: pl.DataFrame) -> plt.Figure:
    """A panel per effect: its mean change against the harm, over α from 0, a line per direction; on the report half.

    Dashed: random directions. Bars: 95 % intervals over prompts, and of random ones over draws. A ring: the α that the
    other half chose. Of a model that predicts no tokens, α takes the place of the harm.
    """
    shown = table.filter(pl.col("controls") == (pl.col("direction") == "random"), half=REPORT)
    effects = [one for one in EFFECTS if one in shown["measure"]]
    names = {one: title(one) for one in shown["direction"].unique(maintain_order=True)}
    named, harmed = looks([*names]), KL in shown["measure"]
    with plt.rc_context(STYLE):
        rows = -(-len(effects) // 2)
        size = (COLUMN, 0.7 + 1.7 * rows)
        figure, axes = plt.subplots(rows, min(2, len(effects)), figsize=size, squeeze=False)
        for axis, effect in zip(axes.flat, effects, strict=False):
            for name, (colour, marker) in named.items():
                points = shown.filter(direction=name, measure=effect)
                if len(points):
                    _line(axis, points, _harm(shown, name, points, harmed), colour, marker, names[name])
            axis.axhline(0, color="0.8", linewidth=0.6, zorder=0)
            axis.set_title(LABELS[effect])
        hide_beyond(axes, len(effects))
        figure.supylabel("change by steering", fontsize=7)
        figure.supxlabel(HARM if harmed else "α", fontsize=7)
        legend_of(figure)
    return figure


def _harm(shown: pl.DataFrame, name: str, points: pl.DataFrame, harmed: bool) -> np.ndarray:
    if not harmed:
        return points["alpha"].to_numpy()
    return points.join(shown.filter(direction=name, measure=KL), on="alpha", maintain_order="left")[
        "change_right"
    ].to_numpy()


def _line(axis: Axes, points: pl.DataFrame, harm_A: np.ndarray, colour: str, marker: str, label: str) -> None:
    """α from 0 to either side; the origin is the model as it is."""
    alpha_A, change_A = points["alpha"].to_numpy(), points["change"].to_numpy()
    low_A, high_A = (np.abs(points[f"change_{end}"].to_numpy() - change_A) for end in ("low", "high"))
    dashed = {"linestyle": "--"} if label == title("random") else {}
    for number, side in enumerate((alpha_A > 0, alpha_A < 0)):
        if side.any():
            order = np.argsort(np.abs(alpha_A[side]))
            x, y = (np.append(0, part[side][order]) for part in (harm_A, change_A))
            bars = [np.append(0, part[side][order]) for part in (low_A, high_A)]
            shown = {"color": colour, "marker": marker, "elinewidth": 0.5, "label": None if number else label}
            axis.errorbar(x, y, yerr=bars, **shown, **dashed)
    best = points["best"].to_numpy()
    axis.plot(harm_A[best], change_A[best], "o", mfc="none", mec=colour, ms=7, mew=0.8)


def erasure(table: pl.DataFrame) -> plt.Figure:
    """A panel per label that fresh probes read, the erased one first: ROC AUC by layer, a line per eraser.

    Grey: the plain model. Dotted: chance. Bars: 95 % intervals of what is lost.
    """
    probed = table.filter(measure="roc_auc")
    read = probed["read"].unique(maintain_order=True).to_list()
    named = looks(probed["eraser"].unique(maintain_order=True).to_list())
    with plt.rc_context(STYLE):
        rows = -(-len(read) // 2)
        size = (COLUMN, 0.6 + 1.5 * rows)
        figure, axes = plt.subplots(rows, min(2, len(read)), figsize=size, sharey=True, squeeze=False)
        for axis, data in zip(axes.flat, read, strict=False):
            here = probed.filter(read=data)
            plain = here.unique("at_layer", keep="first", maintain_order=True).sort("at_layer")
            axis.plot(plain["at_layer"], plain["before"], color="0.5", marker=".", label="nothing erased")
            for name, (colour, marker) in named.items():
                points = here.filter(eraser=name).sort("at_layer")
                lost = points["drop"].to_numpy()
                bars = [np.abs(points[f"drop_{end}"].to_numpy() - lost) for end in ("high", "low")]
                axis.errorbar(
                    points["at_layer"],
                    points["after"],
                    yerr=bars,
                    color=colour,
                    marker=marker,
                    elinewidth=0.5,
                    label=ERASERS[name],
                )
            axis.axhline(CHANCE, color="0.6", linestyle=":", linewidth=0.8, zorder=0)
            axis.set_title(data if data != table["data"][0] else f"{data}: the label that is erased")
            axis.set_xlabel("layer")
        hide_beyond(axes, len(read))
        figure.supylabel("ROC AUC of a fresh probe", fontsize=7)
        legend_of(figure)
    return figure
