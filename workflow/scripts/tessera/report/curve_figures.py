"""The figure of a learning curve."""

import matplotlib.pyplot as plt
import polars as pl

from tessera.probes.repeats import combined
from tessera.report.colours import COLOURS
from tessera.report.style import COLUMN, F1, STYLE, bars


def learning_curve(scores: pl.DataFrame, cell: str) -> plt.Figure:
    """Macro F1 on the test split against the number of training examples, with 95 % intervals.

    Where there are several repeats: their mean, and each of them as a dot.
    """
    test = scores.filter(split="test")
    curve = combined(test, ["fraction"])
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 2.2))
        if len(test) > len(curve):
            axis.plot(test["training_examples"], test["macro_f1"], ls="none", marker=".", color="0.7", zorder=0)
        axis.errorbar(
            curve["training_examples"], curve["macro_f1"], bars(curve), color=COLOURS[0], marker="o", elinewidth=0.6
        )
        axis.set_xscale("log")
        axis.set_xticks(curve["training_examples"], [f"{number}" for number in curve["training_examples"]], rotation=45)
        axis.minorticks_off()
        axis.set_xlabel("training examples")
        axis.set_ylabel(F1)
        axis.set_title(cell)
    return figure
