"""What a causal model does with changes in its passes: how neutral texts fare, and what it answers."""

from pathlib import Path

import polars as pl

from tessera.base.files import write_parquet
from tessera.interventions.passes import moved
from tessera.models.answers import answer
from tessera.models.forward import CONTENT, Change
from tessera.models.text import TextModel


def write_consequences(
    model: TextModel,
    changes: dict[str, Change],
    neutral: list[str],
    answered: pl.DataFrame | None,
    out: Path,
    *,
    max_tokens: int,
    where: str = CONTENT,
) -> None:
    """Write into the folder `out`, by variant (the names of `changes` are their numbers).

    harm.parquet: `passes.moved` of neutral texts; answers.parquet: a row per prompt to answer, the log-probability of
    each choice, their names, and the number of the right one, if any. Without texts, or prompts, there is none.
    """
    if neutral:
        harm = moved(model, neutral, changes, max_tokens=max_tokens)
        write_parquet(out / "harm.parquet", harm.with_columns(variant=pl.col("set").cast(pl.Int64)).drop("set"))
    if answered is not None:
        right = answered["right"] if "right" in answered.columns else pl.lit(None, pl.Int64)
        found = [
            answer(model, answered, max_tokens=max_tokens, change=change, where=where).select(
                pl.lit(int(name), pl.Int64).alias("variant"),
                pl.col("id").cast(pl.String),
                "log_probability",
                answered["names"],
                right.alias("right"),
            )
            for name, change in changes.items()
        ]
        write_parquet(out / "answers.parquet", pl.concat(found))
