"""Learning curves: shares that hold one another, and the whole is the cell."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from probes.test_probe import planted
from tessera.base.files import write_parquet
from tessera.examples.regimes import UNUSED, with_share
from tessera.probes.curves import FRACTIONS, learning_curve
from tessera.probes.task import Task, probe_cells

SETTINGS = {"seed": 0, "folds": 3, "resamples": 50, "C": [0.01, 1.0]}


@pytest.fixture
def frame():
    size = 300
    label = np.random.default_rng(0).integers(2, size=size)
    return pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": [f"r{number}" for number in range(size)],
            "text": [f"word{'s' * (number % 7)} {'more ' * label[number]}{number}" for number in range(size)],
            "label": [f"class {number}" for number in label],
            "split": np.where(np.arange(size) % 5 == 0, "test", "train"),
            "group": pl.Series(range(size), dtype=pl.UInt32),
        }
    )


def test_shares_are_nested_and_leave_the_test_split_as_it_is(frame):
    kept = [with_share(frame, fraction, seed=0) for fraction in FRACTIONS]
    for smaller, larger in pairwise(kept):
        inside = [set(one.filter(split="train")["id"]) for one in (smaller, larger)]
        assert inside[0] < inside[1]
        assert smaller.filter(split="test").equals(frame.filter(split="test"))
    assert kept[-1].equals(frame)
    assert Task(kept[0], **SETTINGS).test_splits == ["test"] and UNUSED in kept[0]["split"]


def test_what_a_share_leaves_out_changes_nothing(frame):
    features_EW = planted(frame).toarray()
    task = Task(frame, **SETTINGS, regime=("scarcity", 0.4))
    unused_E = task.split_E == UNUSED
    assert unused_E.sum() > 50 and not (unused_E & task.train_E).any()
    assert features_EW[task.train_E].shape[0] == pytest.approx(0.4 * 240, abs=2)


def test_the_whole_is_the_cell_itself(frame, tmp_path):
    file = tmp_path / "examples.parquet"
    write_parquet(file, frame)
    curve = learning_curve("length", str(file), [], {"data": "d"}, SETTINGS, repeats=2)
    assert curve["fraction"].unique(maintain_order=True).to_list() == list(FRACTIONS)
    assert len(curve) == 2 * len(FRACTIONS)
    ((_, cell),) = probe_cells("length", str(file), [], {"data": "d"}, {}, SETTINGS, 2)
    assert (
        curve.filter(fraction=1.0)
        .drop("fraction")
        .drop("seconds", strict=False)
        .equals(cell.scores.drop("seconds", strict=False))
    )
    sizes = curve.filter(repeat=0)["training_examples"].to_list()
    assert sizes == sorted(sizes) and sizes[-1] == 240


def test_a_share_without_enough_texts_is_left_out_and_said_to_be(frame, tmp_path, caplog):
    few = frame.filter((pl.col("label") == "class 0") | (pl.int_range(pl.len()) % 8 == 1))
    write_parquet(tmp_path / "examples.parquet", few)
    curve = learning_curve("length", str(tmp_path / "examples.parquet"), [], {"data": "d"}, SETTINGS)
    assert FRACTIONS[0] not in curve["fraction"].to_list() and 1.0 in curve["fraction"].to_list()
    assert "share 0.1 of the training split is left out" in caplog.text
