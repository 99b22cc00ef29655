"""Labelled examples: read (see reading.py), sampled, and split once for every cell."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.errors import TesseraError, shorten
from tessera.examples import near, reading
from tessera.examples.checks import AUTO, no_row
from tessera.examples.prompts import load_prompts
from tessera.examples.splits import TEST_PARTS, check_folds, hashes, split
from tessera.study.media import holds
from tessera.study.study import Study


def load_examples(name: str, spec: dict, *, seed: int, folds: int = 1, whole: bool = True) -> pl.DataFrame:
    """The examples of one data set, checked (each class must have a training text per fold), sampled and split.

    Columns: example (u32, the row number every later stage refers to), id, text, label (str), split (train, test
    or the name of a further test set), group (u32): what stays on one side of every split and moves together in the
    bootstrap, equal texts and equal values of the column that `group` names (auto: near-duplicates), and near (u32): a
    number that near-duplicates share.

    Of images: a column image (encoded), and in the place of the text the digest of the pixels. With `whole` off there
    is no such column, equal images are those of equal bytes or paths, and near-duplicates are those of equal text:
    enough to check and to count.

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
        frame = reading.decoded(key, frame, spec, whole)
    shifts = {
        shift: _shift(f"{key}.shifts.{shift}", shift, {**reading.inherited(spec), **shift_spec}, whole)
        for shift, shift_spec in spec.get("shifts", {}).items()
    }
    texts = pl.concat([frame["text"], *(extra["text"] for extra in shifts.values())])
    alike = near.clusters(texts) if whole and holds(spec) == "text" else texts
    if spec.get("group") == AUTO:
        frame = frame.with_columns(group=alike.head(len(frame)).cast(pl.String))
        _check_clusters(key, frame)
    if "split" not in spec:
        frame = frame.with_columns(split(frame, seed))
    _check_classes(key, frame, folds)
    for shift, extra in shifts.items():
        _check_shift(f"{key}.shifts.{shift}", shift, extra, frame)
    frame = pl.concat([frame, *(extra.select(frame.columns) for extra in shifts.values())])
    group = alike if spec.get("group") == AUTO else frame["group"]
    numbers = {name: column.rank("dense").cast(pl.UInt32) - 1 for name, column in (("group", group), ("near", alike))}
    return frame.drop("group").with_columns(**numbers).with_row_index("example")


def count_examples(name: str, study: Study) -> int:
    """How many examples a data set has, its shifts included; for one on the hub, at most.

    Checks every row of a local data set on the way: see `load_examples`.
    """
    spec = study.datasets[name]
    if "answered" in spec and "path" in spec:
        return len(load_prompts(name, spec, seed=study.seed))
    if "path" in spec:
        return len(load_examples(name, spec, seed=study.seed, folds=study.probe["folds"], whole=False))
    shifts = spec.get("shifts", {}).items()
    return spec["max_examples"] + sum(
        len(reading.read_file(f"datasets.{name}.shifts.{s}", {**reading.inherited(spec), **shift}))
        for s, shift in shifts
    )


def describe(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per split: examples, classes, texts that occur again or nearly so, there or in training (leakage)."""
    training = frame.filter(split="train")
    elsewhere = pl.col("text").is_in(training["text"].unique().implode())
    texts_of_cluster = pl.col("text").n_unique().over("near", "split")
    return (
        frame.group_by("split", maintain_order=True)
        .agg(
            examples=pl.len(),
            classes=pl.col("label").n_unique(),
            largest_class=pl.col("label").value_counts(sort=True).struct.field("count").first() / pl.len(),
            repeated_texts=pl.len() - pl.col("text").n_unique(),
            texts_of_two_labels=(pl.col("label").n_unique().over("text") > 1).sum(),
            near_duplicates=(texts_of_cluster > 1).sum(),
            largest_cluster=texts_of_cluster.max(),
            texts_in_training=elsewhere.sum(),
            near_in_training=(pl.col("near").is_in(training["near"].unique().implode()) & ~elsewhere).sum(),
        )
        .with_columns(
            pl.when(split="train").then(0).otherwise(name).alias(name)
            for name in ("texts_in_training", "near_in_training")
        )
        .with_columns(labels_alike=pl.lit(_labels_alike(frame["label"]), pl.String))
    )


def _labels_alike(labels: pl.Series) -> str | None:
    """The labels that differ from another in case or spaces alone: two classes that may be meant as one."""
    distinct = pl.DataFrame({"label": labels.unique().sort()})
    form = pl.col("label").str.to_lowercase().str.replace_all(r"\s+", " ")
    alike = distinct.filter(pl.len().over(form) > 1)["label"]
    return ", ".join(map(shorten, alike)) or None


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


def _shift(key: str, name: str, spec: dict, whole: bool) -> pl.DataFrame:
    extra = reading.columns(key, reading.where(key, reading.read_file(key, spec), spec.get("where", {})), spec)
    if holds(spec) == "image":
        extra = reading.decoded(key, extra, spec, whole)
    return extra.with_columns(id=pl.lit(f"{name}:") + pl.col("id"), split=pl.lit(name))


def _check_shift(key: str, name: str, extra: pl.DataFrame, frame: pl.DataFrame) -> None:
    if name in frame["split"].unique():
        raise TesseraError(f"config key {key}: the data set has a split of that name already")
    unknown = set(extra["label"]) - set(frame.filter(split="train")["label"])
    if unknown:
        raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} is no label of the training split")


def _check_clusters(key: str, frame: pl.DataFrame) -> None:
    """No cluster is larger than the test split: nothing could be dealt."""
    largest = frame["group"].value_counts()["count"].max()
    if largest * TEST_PARTS > len(frame):
        raise TesseraError(
            f"config key {key}.group: auto finds one cluster of {largest} near-duplicates among {len(frame)} texts, "
            "more than a test split holds; name a column of groups instead"
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
    for name in frame["split"].unique():
        unknown = set(frame.filter(split=name)["label"]) - set(train["label"])
        if unknown:
            raise TesseraError(f"config key {key}.label: {shorten(min(unknown))} of split {name!r} is not in training")
