"""How a latent separates a class: among texts that fire it, and among those that do not."""

import numpy as np
import polars as pl
from scipy.stats import fisher_exact
from statsmodels.stats.proportion import confint_proportions_2indep

from tessera.probes.task import Task
from tessera.probes.verdicts import levels

SCHEMA = {
    "separation": pl.Float64,
    "separation_low": pl.Float64,
    "separation_high": pl.Float64,
    "separation_p": pl.Float64,
    "separation_level": pl.Float64,
    "separation_texts": pl.Int64,
}


def separations(task: Task, asked: list[tuple[str, int]], fires_EL: np.ndarray, latents: list[int]) -> pl.DataFrame:
    """For each class and latent asked for: share of the class among firing texts, less that among silent ones.

    On the test split, one text of each group, the first. p is of Fisher's exact test, the interval Newcombe's at the
    level that Holm's procedure over all that are asked for gives it (`verdicts.levels`).

    Args:
        fires_EL: does a text fire each of `latents`?
    """
    held_out = (
        task.examples.with_row_index("row").filter(split="test").unique("group", keep="first", maintain_order=True)
    )
    rows = held_out["row"].to_numpy()
    tables, tested = [], []
    for name, latent in asked:
        is_E = task.label_E[rows] == task.classes.index(name)
        fires_E = fires_EL[rows, latents.index(latent)]
        tables.append([(is_E & fires_E).sum(), fires_E.sum(), (is_E & ~fires_E).sum(), (~fires_E).sum()])
        tested.append(all(side_E.any() and not side_E.all() for side_E in (is_E, fires_E)))
    p = [
        float(fisher_exact([[both, fires - both], [missed, silent - missed]]).pvalue) if test else 1.0
        for test, (both, fires, missed, silent) in zip(tested, tables, strict=True)
    ]
    found = []
    for (both, fires, missed, silent), one_p, level, test in zip(tables, p, levels(p, None), tested, strict=True):
        row = dict.fromkeys(SCHEMA) | {"separation_texts": len(rows)}
        if test:
            options = {"compare": "diff", "method": "newcomb", "alpha": 1 - level}
            low, high = confint_proportions_2indep(both, fires, missed, silent, **options)
            row |= {"separation": both / fires - missed / silent, "separation_low": low, "separation_high": high}
            row |= {"separation_p": one_p, "separation_level": level}
        found.append(row)
    return pl.DataFrame(found, schema=SCHEMA)
