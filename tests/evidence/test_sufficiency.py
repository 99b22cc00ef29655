"""How few latents suffice, what is lost without them, and whether the same ones are named again."""

import numpy as np
import places
import polars as pl
import pytest
from tessera.evidence.reading import suffice
from tessera.evidence.stability import _named, jaccard, permuted
from tessera.evidence.sufficiency import MARGIN, REFITTED, SUFFICIENT, ZEROED, sizes
from tessera.probes.task import Task
from tessera.results.claims import judge, of_evidence

LABELS = ["a", "b", "b", "a"] * 100
ASKED = {"repeats": 2, "k": 1, "draws": 2}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, pl.DataFrame]:
    acts_ETW = places.random_acts(len(LABELS), seed=0)
    places.plant(acts_ETW, np.array(LABELS) == "b")
    return suffice(places.make_place(tmp_path_factory.mktemp("p"), LABELS, acts_ETW, repeats=2), [], [], **ASKED)


def at(curves: pl.DataFrame, measure: str | None, ranking: str, k: int | None) -> dict:
    same = pl.col("measure").eq_missing(measure) & pl.col("k").eq_missing(k)
    return curves.filter(same, ranking=ranking).row(0, named=True)


def test_a_planted_latent_alone_suffices_and_is_necessary(found):
    curves, whole = found["sufficiency"], at(found["sufficiency"], None, "all", None)["macro_f1"]
    assert at(curves, SUFFICIENT, "probe", 1)["macro_f1"] > whole - MARGIN
    assert at(curves, SUFFICIENT, "difference", 1)["macro_f1"] > whole - MARGIN
    assert at(curves, SUFFICIENT, "random", 1)["macro_f1"] < 0.65
    for measure in (ZEROED, REFITTED):
        assert at(curves, measure, "probe", 1)["macro_f1"] < 0.65
        assert at(curves, measure, "random", 1)["macro_f1"] > whole - MARGIN


def test_the_area_of_a_curve_is_its_mean_over_log_k(found):
    curve = found["sufficiency"].filter(measure=ZEROED, ranking="random").sort("k")
    f1 = curve["macro_f1"].to_numpy()
    assert curve["k"].to_list() == [1, 2, 4, 8, 16, 32]
    assert curve["area"][0] == pytest.approx(((f1[1:] + f1[:-1]) / 2).mean())


def test_all_columns_without_which_nothing_is_left_is_the_class_of_the_intercept(found):
    curves = found["sufficiency"]
    last = curves.filter(measure=REFITTED, ranking="probe").sort("k").row(-1, named=True)
    assert last["k"] == places.WIDTH and last["macro_f1"] < 0.4


def test_the_latent_is_named_again(found):
    rows = {row["over"]: row for row in found["stability"].iter_rows(named=True)}
    assert set(rows) == {"folds", "repeats"}
    assert all(row["jaccard"] == 1 for row in rows.values())
    assert all(row["null_jaccard"] < 0.6 for row in rows.values())  # of one latent: chance may name it again too


def test_other_seeds_are_named_through_a_match(tmp_path):
    acts_ETW = places.random_acts(len(LABELS), seed=0)
    places.plant(acts_ETW, np.array(LABELS) == "b")
    place = places.make_place(tmp_path / "first", LABELS, acts_ETW)
    mixed = np.random.default_rng(0).permutation(places.WIDTH)
    other = places.make_place(tmp_path / "other", LABELS, acts_ETW[:, :, mixed])
    found = suffice(place, [], other.features, repeats=1, k=1, draws=2)
    seeds = found["stability"].filter(over="seeds").row(0, named=True)
    assert seeds["jaccard"] == 1 and seeds["sets"] == 2


def test_sets_that_share_half_of_their_union():
    assert jaccard([{1, 2, 3}, {2, 3, 4}]) == 0.5
    assert jaccard([{1}, {1}, {2}]) == pytest.approx(1 / 3)


def test_what_one_seed_alone_has_is_like_no_other():
    assert not _named(0, {5}, {1: 2}) & _named(1, {5}, {1: 2})
    assert _named(0, {1, 5}, {1: 2}) & {2}


def test_permuted_labels_leave_every_class_in_every_fit(found):
    """A class of 6 training texts, beside a large test set that no fit has."""
    labels = ["b"] * 6 + ["a"] * 54 + ["a"] * 400
    frame = places.example_frame(labels)
    frame = frame.with_columns(split=pl.Series(["train"] * 60 + ["late"] * 400))
    task = Task(frame, **places.SETTINGS)
    fits = [task.train_E]
    for draw in range(30):
        label_E = permuted(task, fits, draw)
        assert np.bincount(label_E[task.train_E]).tolist() == [54, 6] and not label_E[60:].any()


def test_a_k_that_is_over_half_of_the_latents_names_nothing(found, tmp_path):
    acts_ETW = places.random_acts(100, seed=0)
    place = places.make_place(tmp_path, ["a", "b"] * 50, acts_ETW)
    tables = suffice(place, [], [], repeats=1, k=40, draws=2)
    assert tables["suffices"].is_empty() and tables["stability"].is_empty() and len(tables["sufficiency"])


def test_sizes_end_at_what_there_is():
    assert sizes(10, 3) == [1, 2, 3, 4, 8] and sizes(5000, 1)[-1] == 1024 and sizes(4, 9) == [1, 2, 4]


def rows_of(suffices: pl.DataFrame) -> pl.DataFrame:
    return suffices.with_columns(claim=pl.lit("k latents suffice"), on=pl.lit("here"), metric=pl.lit("macro_f1"))


def test_alike_on_few_texts_is_not_alike_for_certain(found):
    """80 test texts, all told alike: 3 of 80 may be told otherwise, more than the margin."""
    verdict = judge([], joined=of_evidence(rows_of(found["suffices"])))["verdict"].to_list()
    inside = found["suffices"].row(0, named=True)
    assert inside["difference"] == pytest.approx(MARGIN, abs=0.01)
    assert verdict == ["undecided"]


def test_shuffled_labels_name_no_latents_that_suffice_or_are_stable(tmp_path):
    """20 draws of labels that nothing tells: no claim holds, and overlap beyond permuted labels is rare."""
    acts_ETW, low, above = places.random_acts(100, seed=5), 0, 0
    for draw in range(20):
        labels = np.random.default_rng(draw).permutation(["a", "b"] * 50).tolist()
        place = places.make_place(tmp_path / str(draw), labels, acts_ETW)
        found = suffice(place, [], [], repeats=1, k=8, draws=2)
        verdict = judge([], joined=of_evidence(rows_of(found["suffices"])))["verdict"].to_list()
        assert verdict != ["holds"]
        low += (found["stability"]["p"] <= 0.05).sum()
        above += (found["suffices"]["difference_low"] > 0).sum()  # so few texts alone keep the claim from holding
    assert low <= 4  # of 20 at .05: more than 4 come in .3 %
    assert above <= 3  # of 40 at .025
