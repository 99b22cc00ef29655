"""Prompts whose labels a model is to make."""

import polars as pl

from tessera.base.errors import TesseraError
from tessera.examples import reading
from tessera.examples.checks import AUTO, no_row
from tessera.examples.splits import hashes

PROMPT_COLUMNS = {"id", "text", "choices", "names", "right", "answer", "log_probability", "choice_tokens", "cut"}


def load_prompts(name: str, spec: dict, *, seed: int) -> pl.DataFrame:
    """The prompts of a data set whose labels a model is to make, every row checked, sampled by a hash of their ids.

    Columns: id, text, those that the config names (text, group, split), choices (list of texts), names (list of what
    they are called) and, where `answered.correct` says which choice is right, right (its number).

    Raises:
        TesseraError: names the config key, the value or row, and what is allowed.
    """
    key, asked = f"datasets.{name}", spec["answered"]
    raw = reading.read_file(key, spec) if "path" in spec else reading.read_hub(key, spec)
    raw = reading.where(key, raw, spec.get("where", {}))
    for column in asked.get("choices", []):
        if column not in raw.columns or raw[column].dtype != pl.String:
            raise TesseraError(f"config key {key}.answered.choices: no column {column!r} of texts")
        no_row(f"{key}.answered", column, "no text", raw[column].fill_null("").str.strip_chars() == "")
    names = asked.get("choices") or asked["answers"]
    texts = [raw[column] if "choices" in asked else pl.Series([column]).new_from_index(0, len(raw)) for column in names]
    checked = reading.columns(key, raw.with_columns(label=pl.lit("unknown")), {**spec, "label": "label"})
    kept = {spec[column] for column in ("text", "group", "split") if column in spec} - {AUTO}
    clash = kept & PROMPT_COLUMNS - {spec["text"]} | {spec["text"]} & PROMPT_COLUMNS - {"text"}
    if clash:
        raise TesseraError(f"config key {key}: in an answered data set, the column {min(clash)!r} needs another name")
    frame = raw.select(sorted(kept)).with_columns(
        checked["id"].alias("id"),
        checked["text"].alias("text"),
        choices=pl.Series(list(zip(*texts, strict=True)), dtype=pl.List(pl.String)),
        names=pl.Series([names] * len(raw)),
    )
    alike = frame["choices"].list.eval(pl.element().str.strip_chars()).list.n_unique() < len(names)
    no_row(f"{key}.answered", "choices", "two answers of the same text", alike)
    if "correct" in asked:
        frame = frame.with_columns(right=_right(key, raw, asked["correct"], frame["choices"], names))
    order = hashes(frame["id"], seed, "sample").arg_sort()[: spec.get("max_examples", len(frame))]
    return frame[order.sort()]


def _right(key: str, raw: pl.DataFrame, column: str, choices: pl.Series, names: list[str]) -> pl.Series:
    """Number of the right choice, which `column` gives by number (from 0), by name or by text: one way in all rows."""
    if column not in raw.columns:
        raise TesseraError(f"config key {key}.answered.correct: no column {column!r}; there: {', '.join(raw.columns)}")
    said = raw[column].cast(pl.String)
    ways = {
        "numbers": [[str(number) for number in range(len(names))]] * len(said),
        "names": [names] * len(said),
        "texts": choices.to_list(),
    }
    found = {
        way: pl.Series(
            [known.index(one) if one in known else None for one, known in zip(said, each, strict=True)], dtype=pl.Int64
        )
        for way, each in ways.items()
    }
    whole = {way: right for way, right in found.items() if not right.null_count()}
    if len({tuple(right) for right in whole.values()}) > 1:
        raise TesseraError(
            f"config key {key}.answered.correct: column {column!r} could hold the {' or the '.join(whole)} of the "
            f"answers, which differ; name the right answers' columns in it"
        )
    if not whole:
        nearest = min(found.values(), key=lambda right: right.null_count())
        what = f"none of {', '.join(names)}, their numbers or texts:"
        no_row(f"{key}.answered", "correct", what, nearest.is_null(), said)
    return next(iter(whole.values()))
