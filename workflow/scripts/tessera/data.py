"""Labelled examples: read (see rows.py), sampled, and split once for every cell."""

import hashlib
import re
from pathlib import Path

import numpy as np
import polars as pl

from tessera import rows
from tessera.errors import TesseraError, no_row, shorten
from tessera.kinds import holds

LABELS_OF_UNIT = pl.col("label").unique().sort().str.join("\0")  # a stratum for units of several labels
PROMPT_COLUMNS = {"id", "text", "choices", "names", "right", "answer", "log_probability", "choice_tokens", "cut"}
TEST_PARTS = 5  # one part in five is the test split


def load_examples(name: str, spec: dict, *, seed: int, folds: int = 1, decode: bool = True) -> pl.DataFrame:
    """The examples of one data set, checked (each class must have a training text per fold), sampled and split.

    Columns: example (u32, the row number every later stage refers to), id, text, label (str), split (train, test
    or the name of a further test set) and group (u32): what stays on one side of every split and moves together in
    the bootstrap, equal texts and equal values of the column that `group` names.

    Of images: a column image (encoded), and in the place of the text the digest of the pixels. With `decode` off there
    is no such column, and equal images are those of equal bytes or paths: enough to check and to count.

    Raises:
        TesseraError: names the config key, the value or row, and what is allowed.
    """
    key = f"datasets.{name}"
    raw = rows.read_file(key, spec) if "path" in spec else rows.read_hub(key, spec)
    raw = rows.where(key, raw, spec.get("where", {}))
    frame = rows.columns(key, raw, spec)
    if "split" in spec:
        frame = frame.with_columns(split=_own_split(key, raw, spec["split"]))
    if spec.get("max_examples", len(frame)) < len(frame):
        frame = _sample(frame, spec["max_examples"], seed)
    if holds(spec) == "image":
        frame = rows.decoded(key, frame, spec, decode)
    if "split" not in spec:
        part = assign_parts(frame, TEST_PARTS, seed=seed, purpose="test split")
        frame = frame.with_columns(split=pl.Series(np.where(part == 0, "test", "train")))
    _check_classes(key, frame, folds)
    for shift, shift_spec in spec.get("shifts", {}).items():
        extra = _shift(f"{key}.shifts.{shift}", shift, {**rows.inherited(spec), **shift_spec}, frame, decode)
        frame = pl.concat([frame, extra])
    group = frame["unit"].rank("dense").cast(pl.UInt32) - 1
    return frame.drop("unit").with_columns(group=group).with_row_index("example")


def load_prompts(name: str, spec: dict, *, seed: int) -> pl.DataFrame:
    """The prompts of a data set whose labels a model is to make, every row checked, sampled by a hash of their ids.

    Columns: id, text, those that the config names (text, group, split), choices (list of texts), names (list of what
    they are called) and, where `answered.correct` says which choice is right, right (its number).

    Raises:
        TesseraError: names the config key, the value or row, and what is allowed.
    """
    key, asked = f"datasets.{name}", spec["answered"]
    raw = rows.read_file(key, spec) if "path" in spec else rows.read_hub(key, spec)
    raw = rows.where(key, raw, spec.get("where", {}))
    for column in asked.get("choices", []):
        if column not in raw.columns or raw[column].dtype != pl.String:
            raise TesseraError(f"config key {key}.answered.choices: no column {column!r} of texts")
        no_row(f"{key}.answered", column, "no text", raw[column].fill_null("").str.strip_chars() == "")
    names = asked.get("choices") or asked["answers"]
    texts = [raw[column] if "choices" in asked else pl.Series([column]).new_from_index(0, len(raw)) for column in names]
    checked = rows.columns(key, raw.with_columns(label=pl.lit("unknown")), {**spec, "label": "label"})
    kept = {spec[column] for column in ("text", "group", "split") if column in spec}
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
    order = _hashes(frame["id"], seed, "sample").arg_sort()[: spec.get("max_examples", len(frame))]
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


def count_examples(name: str, study: dict) -> int:
    """How many examples a data set has, its shifts included; for one on the hub, at most.

    Checks every row of a local data set on the way: see `load_examples`.
    """
    spec = study["datasets"][name]
    if "answered" in spec and "path" in spec:
        return len(load_prompts(name, spec, seed=study["seed"]))
    if "path" in spec:
        return len(load_examples(name, spec, seed=study["seed"], folds=study["probe"]["folds"], decode=False))
    shifts = spec.get("shifts", {}).items()
    return spec["max_examples"] + sum(
        len(rows.read_file(f"datasets.{name}.shifts.{s}", {**rows.inherited(spec), **shift})) for s, shift in shifts
    )


def assign_parts(frame: pl.DataFrame, parts: int, *, seed: int, purpose: str) -> np.ndarray:
    """Deal the texts of each class round-robin into `parts`; int array [E] of part numbers.

    The one split function: the test split, and the folds inside the training split. Texts are dealt in the order of
    a hash of (seed, purpose, smallest id), so the split depends on the ids and not on the order of the rows; a text
    that occurs twice stands on one side only.
    """
    unit = _unit(frame)
    units = frame.group_by(unit).agg(pl.col("id").min(), LABELS_OF_UNIT)
    units = units.with_columns(order=_hashes(units["id"], seed, purpose)).sort("label", "order")
    units = units.with_columns(part=pl.int_range(pl.len()) % parts)
    return frame.join(units.select(unit, "part"), on=unit, maintain_order="left")["part"].to_numpy()


def _unit(frame: pl.DataFrame) -> str:
    """The column whose equal values are not to be parted: groups where they are known already, else the texts."""
    return next(column for column in ("group", "unit", "text") if column in frame.columns)


def nested(frame: pl.DataFrame, fraction: float, *, seed: int) -> pl.Series:
    """Which examples a share of the texts of each class keeps (rounded up); a larger share keeps these and more."""
    unit = _unit(frame)
    units = frame.group_by(unit).agg(pl.col("id").min(), LABELS_OF_UNIT)
    units = units.with_columns(order=_hashes(units["id"], seed, "fraction"))
    size = (pl.len().over("label") * fraction).round(9).ceil()  # 0.07 × 100 is a little over 7
    kept = pl.col("order").rank("ordinal").over("label") <= size
    return frame[unit].is_in(units.filter(kept)[unit].implode())


def shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The examples in the order of a seeded hash of their texts, each text once."""
    texts = frame.unique("text")
    return texts.with_columns(order=_hashes(texts["text"], seed, "shuffle")).sort("order").drop("order")


def classes(labels: pl.Series) -> list[str]:
    """The distinct labels in order: by value where all are whole numbers, else by spelling."""
    distinct = sorted(labels.unique())
    numbers = all(re.fullmatch("-?[0-9]+", label) for label in distinct)
    return sorted(distinct, key=int) if numbers else distinct


def describe(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per split: examples, classes, repeated texts, and texts that the training split holds too (leakage)."""
    training_texts = frame.filter(split="train")["text"].unique()
    return (
        frame.group_by("split", maintain_order=True)
        .agg(
            examples=pl.len(),
            classes=pl.col("label").n_unique(),
            largest_class=pl.col("label").value_counts(sort=True).struct.field("count").first() / pl.len(),
            repeated_texts=pl.len() - pl.col("text").n_unique(),
            texts_of_two_labels=(pl.col("label").n_unique().over("text") > 1).sum(),
            texts_in_training=pl.col("text").is_in(training_texts.implode()).sum(),
        )
        .with_columns(texts_in_training=pl.when(split="train").then(0).otherwise("texts_in_training"))
    )


def read_examples(file: str | Path) -> pl.DataFrame:
    """The examples that `load_examples` left in a file, without the images, which may be large."""
    return pl.scan_parquet(file).drop("image", strict=False).collect()


def _own_split(key: str, raw: pl.DataFrame, column: str) -> pl.Series:
    if column not in raw.columns:
        raise TesseraError(f"config key {key}.split: no column {column!r}; there: {', '.join(raw.columns)}")
    split = raw[column].cast(pl.String)
    no_row(key, "split", "no split", split.fill_null("").str.strip_chars() == "")
    found = split.unique().sort().to_list()
    if not {"train", "test"} <= set(found):
        raise TesseraError(
            f"config key {key}.split: column {column!r} must hold train and test; it holds {shorten(found)}"
        )
    return split


def _sample(frame: pl.DataFrame, size: int, seed: int) -> pl.DataFrame:
    """`size` rows, each class (of each own split) keeping its share, in the order of a seeded hash of the ids."""
    strata = ["split", "label"] if "split" in frame.columns else ["label"]
    order = _hashes(frame["id"], seed, "sample")
    rank = (pl.col("order").rank("ordinal").over(strata) - 0.5) / pl.len().over(strata)
    kept = (
        frame.with_row_index("row").with_columns(order=order).with_columns(rank=rank).sort("rank", "order").head(size)
    )
    return kept.sort("row").drop("row", "order", "rank")


def _shift(key: str, name: str, spec: dict, frame: pl.DataFrame, decode: bool) -> pl.DataFrame:
    if name in frame["split"].unique():
        raise TesseraError(f"config key {key}: the data set has a split of that name already")
    extra = rows.columns(key, rows.where(key, rows.read_file(key, spec), spec.get("where", {})), spec)
    if holds(spec) == "image":
        extra = rows.decoded(key, extra, spec, decode)
    unknown = set(extra["label"]) - set(frame.filter(split="train")["label"])
    if unknown:
        raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} is no label of the training split")
    return extra.with_columns(id=pl.lit(f"{name}:") + pl.col("id"), split=pl.lit(name)).select(frame.columns)


def check_folds(frame: pl.DataFrame, folds: int) -> None:
    """Every class needs a distinct training text per fold.

    Raises:
        TesseraError: names the smallest class.
    """
    train = frame.filter(split="train")
    counts = dict(train.group_by("label").agg(pl.col(_unit(train)).n_unique()).iter_rows())
    label = min(counts, key=lambda label: (counts[label], label))
    smallest = counts[label]
    if smallest < folds:
        raise TesseraError(
            f"class {shorten(label)} has {smallest} distinct training texts, fewer than probe.folds, {folds}"
        )


def _check_classes(key: str, frame: pl.DataFrame, folds: int) -> None:
    train = frame.filter(split="train")
    if train.is_empty():
        raise TesseraError(f"config key {key}: {len(frame)} examples are too few, none is left for the training split")
    if train["label"].n_unique() < 2:
        only = shorten(train["label"][0])
        raise TesseraError(f"config key {key}.label: the training split has one class only, {only}")
    try:
        check_folds(frame, folds)
    except TesseraError as error:
        raise TesseraError(f"config key {key}: {error}") from None
    for split in frame["split"].unique():
        unknown = set(frame.filter(split=split)["label"]) - set(train["label"])
        if unknown:
            raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} of split {split!r} is not in training")


def _hashes(ids: pl.Series, seed: int, purpose: str) -> pl.Series:
    digests = (hashlib.blake2b(f"{seed}\0{purpose}\0{id}".encode(), digest_size=8).digest() for id in ids)
    return pl.Series([int.from_bytes(digest, "big") for digest in digests], dtype=pl.UInt64)
