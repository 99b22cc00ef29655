"""Labelled examples: read (see reading.py), sampled, and split once for every cell."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.errors import TesseraError, shorten
from tessera.examples import reading
from tessera.examples.checks import no_row
from tessera.examples.prompts import load_prompts
from tessera.examples.splits import check_folds, hashes, split
from tessera.study.media import holds
from tessera.study.study import Study


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
    raw = reading.read_file(key, spec) if "path" in spec else reading.read_hub(key, spec)
    raw = reading.where(key, raw, spec.get("where", {}))
    frame = reading.columns(key, raw, spec)
    if "split" in spec:
        frame = frame.with_columns(split=_own_split(key, raw, spec["split"]))
    if spec.get("max_examples", len(frame)) < len(frame):
        frame = _sample(frame, spec["max_examples"], seed)
    if holds(spec) == "image":
        frame = reading.decoded(key, frame, spec, decode)
    if "split" not in spec:
        frame = frame.with_columns(split(frame, seed))
    _check_classes(key, frame, folds)
    for shift, shift_spec in spec.get("shifts", {}).items():
        extra = _shift(f"{key}.shifts.{shift}", shift, {**reading.inherited(spec), **shift_spec}, frame, decode)
        frame = pl.concat([frame, extra])
    group = frame["group"].rank("dense").cast(pl.UInt32) - 1
    return frame.drop("group").with_columns(group=group).with_row_index("example")


def count_examples(name: str, study: Study) -> int:
    """How many examples a data set has, its shifts included; for one on the hub, at most.

    Checks every row of a local data set on the way: see `load_examples`.
    """
    spec = study.datasets[name]
    if "answered" in spec and "path" in spec:
        return len(load_prompts(name, spec, seed=study.seed))
    if "path" in spec:
        return len(load_examples(name, spec, seed=study.seed, folds=study.probe["folds"], decode=False))
    shifts = spec.get("shifts", {}).items()
    return spec["max_examples"] + sum(
        len(reading.read_file(f"datasets.{name}.shifts.{s}", {**reading.inherited(spec), **shift}))
        for s, shift in shifts
    )


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


def read_texts(file: str | Path) -> np.ndarray:
    """The texts [E] of the examples in a file, in their order."""
    return pl.scan_parquet(file).sort("example").select("text").collect()["text"].to_numpy()


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
    order = hashes(frame["id"], seed, "sample")
    rank = (pl.col("order").rank("ordinal").over(strata) - 0.5) / pl.len().over(strata)
    kept = (
        frame.with_row_index("row").with_columns(order=order).with_columns(rank=rank).sort("rank", "order").head(size)
    )
    return kept.sort("row").drop("row", "order", "rank")


def _shift(key: str, name: str, spec: dict, frame: pl.DataFrame, decode: bool) -> pl.DataFrame:
    if name in frame["split"].unique():
        raise TesseraError(f"config key {key}: the data set has a split of that name already")
    extra = reading.columns(key, reading.where(key, reading.read_file(key, spec), spec.get("where", {})), spec)
    if holds(spec) == "image":
        extra = reading.decoded(key, extra, spec, decode)
    unknown = set(extra["label"]) - set(frame.filter(split="train")["label"])
    if unknown:
        raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} is no label of the training split")
    return extra.with_columns(id=pl.lit(f"{name}:") + pl.col("id"), split=pl.lit(name)).select(frame.columns)


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
    for name in frame["split"].unique():
        unknown = set(frame.filter(split=name)["label"]) - set(train["label"])
        if unknown:
            raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} of split {name!r} is not in training")
