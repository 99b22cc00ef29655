"""The prompts that a scenario asks, none of them a text that its directions were made from."""

import logging

import polars as pl

from tessera.base.errors import TesseraError
from tessera.examples.forms import form
from tessera.examples.prompts import load_prompts

logger = logging.getLogger("tessera")
LEAST = 4  # prompts, two a half
COLUMNS = ("example", "id", "text", "split", "group")  # of examples, that a model is run on


def asked_prompts(
    data: str | None, spec: dict | None, answered: str | list, examples: pl.DataFrame, seed: int
) -> pl.DataFrame | None:
    """The prompts to answer, as `load_prompts` gives them: of the test split, none a training text of `examples`.

    Args:
        data, spec: the data set that the model answers, if any, and its entry in the config. answered: its examples.

    Raises:
        TesseraError: too few are left.
    """
    if data is None:
        return None
    tested = pl.scan_parquet(answered).filter(split="test").select("id").collect()["id"]
    prompts = load_prompts(data, spec, seed=seed).filter(pl.col("id").cast(pl.String).is_in(tested.implode()))
    return _unseen(prompts, examples, f"answers.data: {data!r}")


def continued_prompts(asked: dict | None, file: str | list, examples: pl.DataFrame) -> pl.DataFrame | None:
    """The prompts to continue, if any: id, text and group.

    They are those of the config, or of a test split, none a training text of `examples`.

    Raises:
        TesseraError: too few are left.
    """
    if asked is None:
        return None
    if "texts" in asked:
        numbers = [str(number) for number in range(len(asked["texts"]))]
        listed = pl.DataFrame({"id": numbers, "text": asked["texts"], "group": numbers})
        return _unseen(listed, examples, "prompts.texts")
    tested = pl.scan_parquet(file).filter(split="test").select("id", "text", "group").collect()
    return _unseen(tested, examples, f"prompts.data: {asked['data']!r}")


def _unseen(prompts: pl.DataFrame, examples: pl.DataFrame, key: str) -> pl.DataFrame:
    known = {form(text) for text in examples.filter(split="train")["text"]}
    kept = prompts.filter(~pl.Series([form(text) in known for text in prompts["text"]], dtype=pl.Boolean))
    without = len(prompts) - len(kept)
    logger.info("%s: %d prompts, %d left out: directions are made from them", key, len(kept), without)
    if len(kept) < LEAST:
        raise TesseraError(
            f"config key interventions.….{key} has {len(kept)} prompts (of a data set: in its test split) that no "
            f"direction is made from; give more, or other ones"
        )
    return kept


def check_head(causal: bool, key: str, **needed: bool) -> None:
    """Has a model a head, where a key of a scenario needs one: to answer, or to write?

    Raises:
        TesseraError: it has none.
    """
    name = next((name for name, there in needed.items() if there), None)
    if name and not causal:
        raise TesseraError(
            f"config key {key}.{name}: the model has no head that predicts tokens; name a reader at a later layer "
            f"in its place"
        )
