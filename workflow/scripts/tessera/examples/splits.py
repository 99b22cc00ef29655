"""The one split function, and what else orders, deals or parts examples by a seeded hash."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np
import polars as pl
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from tessera.base.errors import TesseraError, shorten

TEST_PARTS = 5  # one part in five is the test split


def joined(first: pl.Series, second: pl.Series) -> pl.Series:
    """A name per row, equal for rows that share a value of either series, directly or through other rows."""
    first_E, second_E = (column.rank("dense").to_numpy().astype(np.int64) - 1 for column in (first, second))
    edges = (np.ones(len(first_E)), (first_E, first_E.max() + 1 + second_E))
    size = int(first_E.max() + second_E.max()) + 2
    _, component = connected_components(sp.coo_array(edges, shape=(size, size)), directed=False)
    return pl.Series(component[first_E]).cast(pl.String)


LABELS_OF_GROUP = pl.col("label").unique().sort().str.join("\0")  # a stratum for groups of several labels


def split(frame: pl.DataFrame, seed: int, repeat: int = 0) -> pl.Series:
    """The seeded stratified 80/20 split of the examples, drawn anew in each repeat: train or test."""
    part = assign_parts(frame, TEST_PARTS, seed=seed, repeat=repeat, purpose="test split")
    return pl.Series("split", np.where(part == 0, "test", "train"))


def resplit(examples: pl.DataFrame, *, seed: int, repeat: int) -> pl.DataFrame:
    """The examples with the train and test split of a repeat; repeat 0 is as they are stored, shifts stay."""
    if repeat == 0:
        return examples
    dealt = examples.filter(pl.col("split").is_in(["train", "test"]))
    drawn = dealt.select("example").with_columns(split(dealt, seed, repeat).alias("drawn"))
    joined = examples.join(drawn, on="example", how="left", maintain_order="left")
    return joined.with_columns(split=pl.coalesce("drawn", "split")).drop("drawn")


def assign_parts(frame: pl.DataFrame, parts: int, *, seed: int, purpose: str, repeat: int = 0) -> np.ndarray:
    """Deal the texts of each class round-robin into `parts`; int array [E] of part numbers.

    The one split function: the test split, and the folds inside the training split. Texts are dealt in the order of
    a hash of (seed, purpose, smallest id), so the split depends on the ids and not on the order of the rows; a text
    that occurs twice stands on one side only. Each `repeat` has an order of its own.
    """
    together = _together(frame)
    groups = frame.group_by(together).agg(pl.col("id").min(), LABELS_OF_GROUP)
    groups = groups.with_columns(order=hashes(groups["id"], seed, purpose, repeat)).sort("label", "order")
    groups = groups.with_columns(part=pl.int_range(pl.len()) % parts)
    return frame.join(groups.select(together, "part"), on=together, maintain_order="left")["part"].to_numpy()


def _together(frame: pl.DataFrame) -> str:
    """The column whose equal values are not to be parted: groups where they are known already, else the texts."""
    return next(column for column in ("group", "text") if column in frame.columns)


def nested(frame: pl.DataFrame, fraction: float, *, seed: int, repeat: int = 0) -> pl.Series:
    """Which examples a share of the texts of each class keeps (rounded up); a larger share keeps these and more."""
    together = _together(frame)
    groups = frame.group_by(together).agg(pl.col("id").min(), LABELS_OF_GROUP)
    groups = groups.with_columns(order=hashes(groups["id"], seed, "fraction", repeat))
    size = (pl.len().over("label") * fraction).round(9).ceil()  # 0.07 × 100 is a little over 7
    kept = pl.col("order").rank("ordinal").over("label") <= size
    return frame[together].is_in(groups.filter(kept)[together].implode())


def shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The examples in the order of a seeded hash of their texts, each text once."""
    texts = frame.unique("text")
    return texts.with_columns(order=hashes(texts["text"], seed, "shuffle")).sort("order").drop("order")


def classes(labels: pl.Series) -> list[str]:
    """The distinct labels in order: by value where all are whole numbers, else by spelling."""
    distinct = sorted(labels.unique())
    numbers = all(re.fullmatch("-?[0-9]+", label) for label in distinct)
    return sorted(distinct, key=int) if numbers else distinct


def check_folds(frame: pl.DataFrame, folds: int, labels: Iterable[str] = ()) -> None:
    """Every class needs a distinct training text per fold; so do `labels`, which the training split may have lost.

    Raises:
        TesseraError: names the smallest class.
    """
    train = frame.filter(split="train")
    texts = train.group_by("label").agg(pl.col(_together(train)).n_unique())
    counts = dict.fromkeys(labels, 0) | dict(texts.iter_rows())
    label = min(counts, key=lambda label: (counts[label], label))
    smallest = counts[label]
    if smallest < folds:
        raise TesseraError(
            f"class {shorten(label)} has {smallest} distinct training texts, fewer than probe.folds, {folds}"
        )


def hashes(ids: pl.Series, seed: int, purpose: str, repeat: int = 0) -> pl.Series:
    salt = f"{seed}.{repeat}" if repeat else str(seed)
    digests = (hashlib.blake2b(f"{salt}\0{purpose}\0{id}".encode(), digest_size=8).digest() for id in ids)
    return pl.Series([int.from_bytes(digest, "big") for digest in digests], dtype=pl.UInt64)
