"""Regimes: what they do to a training split, recomputed by other code; and what they leave as it is."""

import hashlib
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import fails
from scipy.stats import binomtest, chisquare
from tessera.examples.regimes import REGIMES, UNUSED, in_regime
from tessera.examples.splits import check_folds
from tessera.study.config import SCHEMA

LEVELS = (0.05, 0.1, 0.3, 0.5, 0.9)


def frame_of(labels, groups=None, tests=0, shifted=0):
    """Examples in a train split, the last ones in a test split and in a shifted one."""
    size = len(labels)
    return pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": [f"r{number}" for number in range(size)],
            "text": [f"text {number}" for number in range(size)],
            "label": [f"class {label}" for label in labels],
            "split": ["train"] * (size - tests - shifted) + ["test"] * tests + ["late"] * shifted,
            "group": pl.Series(range(size) if groups is None else groups, dtype=pl.UInt32),
        }
    )


def number_of(*parts) -> int:
    """The seeded hash, by itself: 8 bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def salt(seed, repeat):
    return f"{seed}.{repeat}" if repeat else str(seed)


def kept(frame) -> set:
    return set(frame.filter(split="train")["id"])


def expected_shares(frame, level, seed, repeat) -> dict:
    """id → label of what is left: of the groups of each make-up of labels a share, rounded up."""
    train, members = frame.filter(split="train"), defaultdict(list)
    for row in train.iter_rows(named=True):
        members[row["group"]].append(row)
    alike = defaultdict(list)
    for rows in members.values():
        first = min(row["id"] for row in rows)
        alike[frozenset(row["label"] for row in rows)].append((number_of(salt(seed, repeat), "fraction", first), rows))
    left = {}
    for groups in alike.values():
        several = sorted(groups, key=lambda one: one[0])
        for _, rows in several[: int(np.ceil(round(level * len(several), 9)))]:
            left |= {row["id"]: row["label"] for row in rows}
    return left


def expected_imbalance(frame, level, seed, repeat) -> dict:
    """The same: groups, in order, that no class of theirs is full before."""
    train, members = frame.filter(split="train"), defaultdict(list)
    sizes = Counter(train["label"])
    order = sorted(sizes, key=lambda label: number_of(str(seed), "imbalance of classes", label))
    order = [order[(place + repeat) % len(order)] for place in range(len(order))]
    most = {label: max(sizes.values()) * level ** (k / (len(order) - 1)) for k, label in enumerate(order)}
    for row in train.iter_rows(named=True):
        members[row["group"]].append(row)
    left, seen = {}, Counter()
    for rows in sorted(
        members.values(), key=lambda rows: number_of(salt(seed, repeat), "imbalance", min(row["id"] for row in rows))
    ):
        if all(seen[row["label"]] < most[row["label"]] - 1e-9 for row in rows):
            left |= {row["id"]: row["label"] for row in rows}
        seen.update(row["label"] for row in rows)
    return left


def expected_noise(frame, level, seed, repeat) -> dict:
    """The same: all examples, some with another label."""
    train = frame.filter(split="train")
    names = sorted(set(train["label"]))
    left = {}
    for id, label in train.select("id", "label").iter_rows():
        if number_of(salt(seed, repeat), "noise", id) < level * 2**64:
            others = names[names.index(label) + 1 :] + names[: names.index(label)]
            label = others[number_of(salt(seed, repeat), "noise to", id) % len(others)]
        left[id] = label
    return left


EXPECTED = {"scarcity": expected_shares, "imbalance": expected_imbalance, "noise": expected_noise}


def test_every_regime_has_a_key_and_a_recomputation():
    keys = yaml.safe_load(SCHEMA.read_text())["properties"]["regimes"]["properties"]
    assert list(keys) == list(REGIMES) == list(EXPECTED)


@pytest.mark.parametrize("name", REGIMES)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=12, max_size=60),
    seed=st.integers(0, 5),
    repeat=st.integers(0, 4),
)
def test_a_regime_equals_its_recomputation_and_leaves_the_tests_as_they_are(name, rows, seed, repeat):
    """Of any classes and groups; groups of several classes among them."""
    rows = [(0, 100), (1, 101), *rows]  # two classes at least in training
    frame = frame_of([label for label, _ in rows], [group for _, group in rows], tests=4, shifted=3)
    for level in LEVELS:
        found = in_regime(frame, name, level, seed=seed, repeat=repeat)
        assert dict(found.filter(split="train").select("id", "label").rows()) == EXPECTED[name](
            frame, level, seed, repeat
        )
        rest = pl.col("split").is_in(["test", "late"])
        assert found.filter(rest).equals(frame.filter(rest))
        assert (
            found.filter(split=UNUSED)
            .drop("split")
            .equals(frame.filter(pl.col("id").is_in(found.filter(split=UNUSED)["id"].implode())).drop("split"))
        )
        assert found["id"].equals(frame["id"])
    assert in_regime(frame, name, REGIMES[name].plain, seed=seed, repeat=repeat).equals(frame)


@pytest.mark.parametrize("name", REGIMES)
def test_harsher_levels_do_what_milder_ones_do_and_more(name):
    frame = frame_of(np.arange(400) % 3, np.arange(400) // 2)
    harsh = sorted(LEVELS, key=lambda level: -abs(level - REGIMES[name].plain))
    for harsher, milder in pairwise([in_regime(frame, name, level, seed=1, repeat=2) for level in harsh]):
        assert kept(harsher) <= kept(milder)
        changed = [one.filter(one["label"] != frame["label"])["id"].to_list() for one in (harsher, milder)]
        assert {*changed[1]} <= {*changed[0]}
        as_before = pl.col("id").is_in(changed[1])
        assert harsher.filter(as_before)["label"].equals(milder.filter(as_before)["label"])  # the same wrong ones
        assert kept(harsher) < kept(milder) or len(changed[1]) < len(changed[0])
    with_group = in_regime(frame, name, 0.1, seed=1).group_by("group").agg(pl.col("split").n_unique())
    assert with_group["split"].unique().to_list() == [1]


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_is_of_its_seed_and_repeat_and_not_of_the_order_of_rows(name):
    frame = frame_of(np.arange(120) % 2)

    def made(frame, **drawn):
        changed = in_regime(frame, name, 0.3, **drawn).filter(split="train")
        return changed.sort("id").select("id", "label")

    first = made(frame, seed=0)
    assert made(frame.sample(fraction=1, shuffle=True, seed=3), seed=0).equals(first)
    assert not made(frame, seed=1).equals(first) and not made(frame, seed=0, repeat=1).equals(first)


def test_classes_are_rare_in_turn_in_geometric_steps():
    frame = frame_of(np.arange(400) % 4)  # 100 of each
    steps = [100, 47, 22, 10]  # 100 × 10^(−k / 3), rounded up
    order = []
    for repeat in range(4):
        sizes = Counter(in_regime(frame, "imbalance", 0.1, seed=5, repeat=repeat).filter(split="train")["label"])
        assert sorted(sizes.values(), reverse=True) == steps
        order.append([label for label, _ in sizes.most_common()])
    assert len({ordered[-1] for ordered in order}) == len({ordered[0] for ordered in order}) == 4
    two = frame_of(np.arange(200) % 2)
    rare = [Counter(in_regime(two, "imbalance", 0.07, seed=5, repeat=n).filter(split="train")["label"]) for n in (0, 1)]
    assert sorted(rare[0].values()) == [7, 100] and rare[0]["class 0"] == rare[1]["class 1"]


def test_a_class_that_is_rare_already_stays_as_it_is():
    frame = frame_of([0] * 100 + [1] * 8)
    changed = [in_regime(frame, "imbalance", 0.1, seed=0, repeat=repeat).filter(split="train") for repeat in range(2)]
    sizes = [Counter(one["label"]) for one in changed]
    assert sorted(one["class 0"] for one in sizes) == [10, 100] and [one["class 1"] for one in sizes] == [8, 8]


def test_as_many_labels_are_wrong_as_the_level_says_each_other_class_alike():
    frame = frame_of(np.arange(8000) % 4, tests=2000)
    found = in_regime(frame, "noise", 0.3, seed=0).filter(split="train")
    truth = frame.filter(split="train")["label"]
    wrong = found["label"] != truth
    assert binomtest(int(wrong.sum()), 6000, 0.3).pvalue > 0.001
    pairs = Counter(zip(truth.filter(wrong), found["label"].filter(wrong), strict=True))
    assert len(pairs) == 12 and chisquare(list(pairs.values())).pvalue > 0.001


def test_a_class_that_a_regime_leaves_nothing_of_is_missed():
    frame = frame_of([0, 0, 0, 1, 1, 1])
    lost = frame.with_columns(split=pl.when(label="class 1").then(pl.lit(UNUSED)).otherwise("split"))
    fails(lambda: check_folds(lost, 3, frame["label"]), "class 'class 1' has 0 distinct training texts")
