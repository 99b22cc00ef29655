"""The table of regimes: who holds out where training splits are small, unequal or partly wrong."""

import polars as pl

from tessera.examples.regimes import REGIMES
from tessera.probes import verdicts
from tessera.probes.metrics import LEVEL
from tessera.results.claims import SAE, SAE_TITLE, Cells
from tessera.results.contestants import CONTESTANTS
from tessera.results.tables import best_cells

PLAIN = "none"
WHERE = ["data", "contestant", "split"]
ABOVE = ("sae_above", "sae_above_low", "sae_above_high")


def regime_table(
    scores: pl.DataFrame, predictions: pl.LazyFrame, plain_scores: pl.DataFrame, plain_predictions: pl.LazyFrame
) -> pl.DataFrame:
    """Per regime and level, data set and contestant its best cell, and how far that of the SAE is above it.

    The best in cross-validation inside the training split of that regime, as in `best_cells`; plain ones first.

    Args:
        scores, predictions: of all cells in all regimes, with columns regime and level.
        plain_scores, plain_predictions: the tables of those names.
    """
    found = [_of_level(PLAIN, None, plain_scores, plain_predictions)]
    for name, regime in REGIMES.items():
        levels = scores.filter(regime=name)["level"].unique()
        for level in sorted(levels, key=lambda level: abs(level - regime.plain)):
            fits, said = scores.filter(regime=name, level=level), predictions.filter(regime=name, level=level)
            found.append(_of_level(name, level, fits.drop("regime", "level"), said))
    return pl.concat(found)


def _of_level(name: str, level: float | None, scores: pl.DataFrame, predictions: pl.LazyFrame) -> pl.DataFrame:
    best = best_cells(scores).join(_above(scores, predictions), on=WHERE, how="left", maintain_order="left")
    return best.select(pl.lit(name).alias("regime"), pl.lit(level, pl.Float64).alias("level"), pl.all())


def _above(scores: pl.DataFrame, predictions: pl.LazyFrame) -> pl.DataFrame:
    """Macro F1 of the SAE less that of each other contestant, with the interval that a claim of one would have."""
    claims = [(name, SAE, cells) for name, cells in CONTESTANTS.items() if name != SAE_TITLE]
    rows = []
    for one in Cells(scores, predictions, []).contrasts(claims, scores["data"].unique(maintain_order=True).to_list()):
        effect = verdicts.contrast(one.left.scored, one.right.scored)
        rows.append((one.on, one.claim, one.split, effect.difference, *effect.interval(LEVEL)))
    schema = dict.fromkeys(WHERE, pl.String) | dict.fromkeys(ABOVE, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")
