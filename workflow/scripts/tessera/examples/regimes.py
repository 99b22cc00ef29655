"""Regimes: training splits as they are met in practice. They are small, or unequal, or their labels are partly wrong.

Each changes the training split alone, by a seeded hash of ids: a harsher level does to the training split what a milder
one does, and more. What probes are tested on stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tessera.examples.splits import classes, hashes, nested

UNUSED = ""  # the split of training examples that a regime leaves out; no split of a data set is named so


def with_share(examples: pl.DataFrame, fraction: float, *, seed: int, repeat: int = 0) -> pl.DataFrame:
    """The examples with a nested share of the training split; the rest of it is UNUSED."""
    train = examples.filter(split="train")
    return _without(examples, train.filter(~nested(train, fraction, seed=seed, repeat=repeat)))


def with_imbalance(examples: pl.DataFrame, ratio: float, *, seed: int, repeat: int = 0) -> pl.DataFrame:
    """The examples with a long-tailed training split (Cui et al. 2019, arXiv 1901.05555); the rest of it is UNUSED.

    Class k of C, k = 0 … C − 1, keeps min(n_k, N ratio^(k / (C − 1))) of its n_k examples, rounded up; N is the size of
    the largest. Classes stand in a seeded order that turns by one place in each repeat, so that each is the rarest in
    turn. A group is kept where the examples in front of it are fewer than that in each of its classes: as a whole, so
    that a class of groups may keep some more, and one that shares its groups with a rarer one less.
    """
    train = examples.filter(split="train")
    names = train["label"].unique()
    names = names.gather(hashes(names, seed, "imbalance of classes").arg_sort()).to_list()
    largest, turn = train["label"].value_counts()["count"].max(), repeat % len(names)
    most = {
        label: round(largest * ratio ** (place / (len(names) - 1)), 9)  # 0.07 × 100 is a little over 7
        for place, label in enumerate(names[turn:] + names[:turn])
    }
    groups = train.group_by("group").agg(pl.col("id").min())
    groups = groups.with_columns(order=hashes(groups["id"], seed, "imbalance", repeat))
    parts = train.group_by("group", "label").agg(size=pl.len().cast(pl.Int64)).join(groups, on="group").sort("order")
    in_front = pl.col("size").cum_sum().over("label") - pl.col("size")
    beyond = parts.filter(in_front >= pl.col("label").replace_strict(most, return_dtype=pl.Float64))
    return _without(examples, train.filter(pl.col("group").is_in(beyond["group"].unique().implode())))


def with_noise(examples: pl.DataFrame, share: float, *, seed: int, repeat: int = 0) -> pl.DataFrame:
    """The examples with wrong labels in the training split: each with the probability `share`, whichever others are.

    A wrong label is one of the other classes, each as likely.
    """
    train = examples.filter(split="train")
    names = classes(train["label"])
    drawn_E = hashes(train["id"], seed, "noise", repeat).to_numpy() / 2.0**64
    turn_E = hashes(train["id"], seed, "noise to", repeat).to_numpy() % (len(names) - 1) + 1
    number_E = train["label"].replace_strict(names, range(len(names))).to_numpy()
    other = pl.Series("wrong", names).gather((number_E + turn_E) % len(names))
    wrong = train.select("example", other).filter(pl.Series(drawn_E < share))
    joined = examples.join(wrong, on="example", how="left", maintain_order="left")
    return joined.with_columns(label=pl.coalesce("wrong", "label")).drop("wrong")


def _without(examples: pl.DataFrame, left_out: pl.DataFrame) -> pl.DataFrame:
    unused = pl.col("example").is_in(left_out["example"].implode())
    return examples.with_columns(split=pl.when(unused).then(pl.lit(UNUSED)).otherwise("split"))


@dataclass(frozen=True)
class Regime:
    """What changes a training split to a level, the level that changes nothing, and what a level is."""

    change: Callable[..., pl.DataFrame]
    plain: float
    level: str


REGIMES = {
    "scarcity": Regime(with_share, 1.0, "share of the training split"),
    "imbalance": Regime(with_imbalance, 1.0, "rarest class / commonest class"),
    "noise": Regime(with_noise, 0.0, "probability of a wrong label"),
}


def in_regime(examples: pl.DataFrame, name: str, level: float, *, seed: int, repeat: int = 0) -> pl.DataFrame:
    """The examples with the training split of a regime at a level."""
    return REGIMES[name].change(examples, level, seed=seed, repeat=repeat)
