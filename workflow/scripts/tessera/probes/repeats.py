"""Several fits of one cell as one: repeats of the split, and draws of what was drawn."""

import numpy as np
import polars as pl

from tessera.examples.splits import TEST_PARTS
from tessera.probes.metrics import LEVEL
from tessera.probes.verdicts import NORMAL, OVERLAP, Effect, Part, of_draws, quantile

# Columns that are averaged, where they are there.
MEANS = ("reliability", "cv_macro_f1", "density")
COUNTS = ("n_features", "training_examples", "examples", "texts_in_training")  # rounded


def combined(scores: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """A row per `by`, of rows per repeat (and draw): metrics averaged, `repeats`, and `draws` where rows have one.

    An interval of the mean of J repeats is the mean interval of one, narrowed by √(1/J + (1 − 1/J) ρ): test splits of a
    share ρ of the examples overlap by it (further test sets, the same in each repeat, have ρ = 1). It is widened by
    what training sets and draws add, as in `verdicts`; with one repeat and one draw it stays as it is.
    """
    drawn = "draw" in scores.columns
    ordered = scores.sort(*(["draw"] if drawn else []), "repeat", maintain_order=True)
    metrics = [name.removesuffix("_low") for name in scores.columns if name.endswith("_low")]
    kept, counts = ([name for name in some if name in scores.columns] for some in (MEANS, COUNTS))
    rows = []
    for key, group in ordered.group_by(by, maintain_order=True):
        draws = group["draw"].n_unique() if drawn else 1
        row = dict(zip(by, key, strict=True))
        for metric in metrics:
            row |= _metric(group, metric, draws) if len(group) > 1 else group.select(_ends(metric)).row(0, named=True)
        row |= {name: group[name].mean() for name in kept} | {name: round(group[name].mean()) for name in counts}
        row |= {"converged": bool(group["converged"].all())} if "converged" in group.columns else {}
        row |= {"repeats": group["repeat"].n_unique()} | ({"draws": draws} if drawn else {})
        rows.append(row)
    schema = {name: scores.schema[name] for name in by}
    schema |= {name: pl.Float64 for metric in metrics for name in _ends(metric)} | dict.fromkeys(kept, pl.Float64)
    schema |= dict.fromkeys(counts, pl.Int64)
    schema |= {"converged": pl.Boolean} if "converged" in scores.columns else {}
    schema |= {"repeats": pl.Int64} | ({"draws": pl.Int64} if drawn else {})
    order = scores.select(by).unique(maintain_order=True)
    found = pl.DataFrame(rows, schema=schema)
    return order.join(found, on=by, how="left", nulls_equal=True, maintain_order="left")


def _ends(metric: str) -> list[str]:
    return [metric, f"{metric}_low", f"{metric}_high"]


def _share(group: pl.DataFrame) -> float:
    """The share of its data set that a re-drawn test split is; 1 of a test set that every repeat scores."""
    if "split" in group.columns and group["split"][0] != "test":
        return 1.0
    return 1 / TEST_PARTS


def _metric(group: pl.DataFrame, metric: str, draws: int) -> dict[str, float]:
    """Value and interval of several rows, draws in order and repeats within them."""
    value_DR, low_DR, high_DR = (group[name].to_numpy().reshape(draws, -1) for name in _ends(metric))
    repeats, share, normal = value_DR.shape[1], _share(group), quantile(LEVEL, NORMAL)
    one = ((high_DR - low_DR).mean() / 2 / normal) ** 2  # variance by the test examples of one repeat
    parts = [Part(one * (1 / repeats + (1 - 1 / repeats) * share), NORMAL)]
    if repeats > 1:
        beyond = max(0.0, value_DR.mean(axis=0).var(ddof=1) - one * (1 - share))
        parts.append(Part(beyond * (1 / repeats + OVERLAP), repeats - 1))
    whole = Effect(float(value_DR.mean()), [*parts, of_draws(value_DR.mean(axis=1))])
    factor = whole.error / np.sqrt(one) * quantile(LEVEL, whole.freedom) / normal if one > 0 else 1.0
    low = whole.difference - factor * float((value_DR - low_DR).mean())
    high = whole.difference + factor * float((high_DR - value_DR).mean())
    return dict(zip(_ends(metric), (whole.difference, max(0.0, low), min(1.0, high)), strict=True))
