"""Several repeats and draws of a cell as one."""

import numpy as np
import polars as pl
import pytest
from probes.test_probe import SETTINGS, examples
from scipy import stats
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.probes.repeats import combined
from tessera.probes.task import probe_cells

AT = {"kind": "tfidf", "place": {}, "values": {"pooling": ["word"]}}


def scored(values_DR, half=0.1, split="test"):
    rows = [
        {"cell": "a", "split": split, "draw": draw, "repeat": repeat, "macro_f1": value, "cv_macro_f1": value}
        | {"macro_f1_low": value - half, "macro_f1_high": value + half, "examples": 20, "training_examples": 80}
        for draw, several in enumerate(values_DR)
        for repeat, value in enumerate(several)
    ]
    return pl.DataFrame(rows)


def test_one_fit_stays_as_it_is():
    row = combined(scored([[0.7]]), ["cell", "split"]).row(0, named=True)
    assert (row["macro_f1"], row["macro_f1_low"], row["macro_f1_high"]) == (0.7, pytest.approx(0.6), pytest.approx(0.8))
    assert (row["repeats"], row["draws"], row["examples"]) == (1, 1, 20)


def test_equal_repeats_narrow_an_interval_by_the_overlap_of_their_tests():
    row = combined(scored([[0.7] * 5]), ["cell", "split"]).row(0, named=True)
    assert row["macro_f1_high"] - 0.7 == pytest.approx(0.1 * np.sqrt(1 / 5 + 4 / 5 * 0.2))
    row = combined(scored([[0.7] * 5], split="fr"), ["cell", "split"]).row(0, named=True)  # the same texts in each
    assert row["macro_f1_high"] - 0.7 == pytest.approx(0.1)


def test_repeats_that_differ_by_more_than_their_tests_widen_it():
    values = [0.5, 0.6, 0.7, 0.8, 0.9]
    row = combined(scored([values], half=0.01), ["cell", "split"]).row(0, named=True)
    expected = stats.t.ppf(0.975, 4) * np.sqrt(np.var(values, ddof=1) * (1 / 5 + 1 / 4))  # Nadeau and Bengio
    assert row["macro_f1_high"] - row["macro_f1"] == pytest.approx(expected, rel=0.02)


def test_the_luck_of_draws_is_in_the_interval():
    draws = [[0.6], [0.7], [0.8]]
    row = combined(scored(draws, half=0.001), ["cell", "split"]).row(0, named=True)
    assert row["macro_f1_high"] - 0.7 == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem([0.6, 0.7, 0.8]), rel=0.01)
    assert row["draws"] == 3


@pytest.fixture
def stored(tmp_path):
    frame = examples(size=200).with_columns(
        text=pl.when(pl.col("label") == "class 1").then(pl.lit("good ")).otherwise(pl.lit("bad ")) + pl.col("text")
    )
    frame = frame.unique("text", maintain_order=True).with_columns(example=pl.int_range(pl.len(), dtype=pl.UInt32))
    frame.write_parquet(tmp_path / "examples.parquet")
    return frame, str(tmp_path / "examples.parquet")


def cells(file, repeats):
    ((_, cell),) = probe_cells(AT["kind"], file, [], AT["place"], AT["values"], SETTINGS, repeats)
    return cell


def test_a_cell_has_the_rows_of_all_repeats(stored):
    _, file = stored
    one, three = cells(file, 1), cells(file, 3)
    for part in ("scores", "predictions", "coefficients"):
        whole = getattr(three, part)
        assert whole["repeat"].unique().sort().to_list() == [0, 1, 2]
        assert whole.filter(repeat=0).equals(getattr(one, part))
    tests = [set(three.predictions.filter(repeat=repeat)["id"]) for repeat in range(3)]
    assert tests[0] != tests[1] != tests[2]


def test_a_fold_knows_no_word_of_what_it_holds_out(stored):
    """A word that is in two texts of one fold alone is no column when that fold is held out."""
    frame, file = stored
    task_frame = frame.with_columns(text=pl.col("text"))
    seen = []

    class Spy(type(kind("tfidf"))):
        def space(self, train, pooling, threshold):
            seen.append(set(train))
            return super().space(train, pooling, threshold)

    from tessera.probes.task import Task

    task = Task(task_frame, **SETTINGS)
    spy, features = Spy(), kind("tfidf").load(Stored(file, [], {}), "word")
    list(task.fit(spy, features, "word", None, ["none"]))
    train = set(features[task.train_E])
    assert seen[0] == train
    held_out = [train - inside for inside in seen[1:]]
    assert len(held_out) == SETTINGS["folds"] and set.union(*held_out) == train
    assert sum(map(len, held_out)) == len(train)
