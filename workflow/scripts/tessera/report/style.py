"""The one style of all figures: one column wide, colour-blind safe, every axis named."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from tessera.base.files import atomic
from tessera.report.colours import COLOURS

COLUMN = 3.4  # inches: one column of a two-column paper
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
SHORT, LINE = 18, 0.14  # a name of which three fit beside each other; inches of a line of a legend


def look(number: int) -> tuple[str, str]:
    """Colour and marker of the `number`-th of any number of things: no pair comes twice among the first 49."""
    turns, place = divmod(number, len(COLOURS))
    return COLOURS[place], MARKERS[(place + turns) % len(MARKERS)]


def looks(names: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each of some things."""
    return {name: look(number) for number, name in enumerate(names)}


def save(figure: plt.Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF and PNG, with no date in it."""
    for path, metadata in ((pdf, {"CreationDate": None}), (png, {})):
        with plt.rc_context(STYLE), atomic(path) as part:
            figure.savefig(part, format=path.suffix[1:], metadata=metadata)
    plt.close(figure)


def legend_of(figure: plt.Figure) -> None:
    """The legend of contestants above a figure, in as many columns as their names leave room for; the figure grows."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) <= SHORT else 2
    figure.set_figheight(figure.get_figheight() + LINE * max(0, -(-len(labels) // columns) - 3))
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, columnspacing=1.0, handletextpad=0.3
    )


def hide_beyond(axes: np.ndarray, number: int) -> None:
    """Hide all but the first `number` axes; the lowest one shown in each column has tick labels."""
    for axis in axes.flat[number:]:
        axis.set_visible(False)
    for column in axes.T:
        shown = [axis for axis in column if axis.get_visible()]
        if shown:
            shown[-1].xaxis.set_tick_params(labelbottom=True)


def bars(points: pl.DataFrame) -> np.ndarray:
    """Distances [2, n] from the value to the ends of its interval."""
    value, low, high = (points[name].to_numpy() for name in ("macro_f1", "macro_f1_low", "macro_f1_high"))
    return np.clip(np.vstack([value - low, high - value]), 0, None)
