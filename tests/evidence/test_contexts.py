"""Contexts: texts over the range of activations, tokens where they stand, like texts on which a latent is silent."""

import numpy as np
import places
import polars as pl
import pytest
from tessera.evidence.contexts import stratified
from tessera.evidence.reading import Place, read_contexts

LABELS = ["a", "b", "b", "a"] * 40
NUMBER = 9


@pytest.fixture(scope="module")
def acts_ETW() -> np.ndarray:
    acts_ETW = places.random_acts(len(LABELS), seed=3)
    places.plant(acts_ETW, np.array(LABELS) == "b")
    return acts_ETW


@pytest.fixture(scope="module")
def place(tmp_path_factory, acts_ETW) -> Place:
    return places.make_place(tmp_path_factory.mktemp("contexts"), LABELS, acts_ETW)


@pytest.fixture(scope="module")
def found(place) -> dict[str, pl.DataFrame]:
    shown = pl.DataFrame({"class": ["b", "a"], "nth": [1, 1], "latent": [places.PLANTED, 20]})
    return read_contexts(place, shown, [str(place.folders[0])], NUMBER)


def test_every_mark_is_a_token_that_fires_with_its_activation(found, acts_ETW):
    for row in found["contexts"].filter(pl.col("stratum").is_not_null()).iter_rows(named=True):
        words = row["text"].split(" ")
        token = [words.index(row["text"][start:end]) for start, end in zip(row["start"], row["end"], strict=True)]
        here_T = acts_ETW[row["example"], :, row["latent"]]
        assert token == np.flatnonzero(here_T).tolist()
        assert row["activation"] == pytest.approx(here_T[token].tolist())
        assert row["tokens"] == places.TOKENS


def test_texts_come_from_the_whole_range_and_from_every_class_that_fires(found):
    texts = found["contexts"].filter(latent=20).filter(pl.col("stratum").is_not_null())
    assert len(texts) == NUMBER and set(texts["stratum"]) == {1, 2, 3, 4} and set(texts["label"]) == {"a", "b"}
    peaks = texts["activation"].list.max()
    assert peaks[0] == peaks.max() and peaks.is_sorted(descending=True)


def test_silent_texts_are_silent_and_alike(found, acts_ETW):
    silent = found["contexts"].filter(pl.col("stratum").is_null())
    assert len(silent) == 2 * NUMBER // 3 and silent["activation"].null_count() == len(silent)
    for row in silent.iter_rows(named=True):
        assert not acts_ETW[row["example"], :, row["latent"]].any() and row["similarity"] > 0


def test_near_duplicates_are_shown_once(place):
    largest_E = np.linspace(1, 2, len(LABELS)).astype(np.float32)
    place.task.examples = place.task.examples.with_columns(near=pl.col("example") // 40)
    assert len(stratified(place.task, largest_E, NUMBER, 0)) == 4
    place.task.examples = place.task.examples.with_columns(near=pl.col("example"))


def test_how_specific_and_how_well_it_separates(found, acts_ETW, place):
    row = found["specificity"].row(0, named=True)
    assert row["neutral_rate"] == pytest.approx((acts_ETW[:, :, places.PLANTED] > 0).mean()) and row["unspecific"]
    assert row["separation"] > 0.8 and row["separation_low"] > 0.5 and row["separation_p"] < 1e-4
    other = found["specificity"].row(1, named=True)
    assert other["separation_low"] < 0 < other["separation_high"]
    assert row["separation_level"] == pytest.approx(0.975) and other["separation_level"] == pytest.approx(0.95)


def test_a_latent_that_fires_on_nothing_has_no_context_and_no_separation(place):
    shown = pl.DataFrame({"class": ["b"], "nth": [None], "latent": [100]}, schema_overrides={"nth": pl.Int64})
    found = read_contexts(place, shown, [], NUMBER)
    assert found["contexts"].is_empty() and found["histograms"].is_empty()
    assert found["specificity"].row(0, named=True)["separation"] is None
    assert found["specificity"]["neutral_rate"].to_list() == [None]


def test_no_latent_to_show_leaves_empty_tables(place):
    shown = pl.DataFrame(schema={"class": pl.String, "nth": pl.Int64, "latent": pl.Int64})
    found = read_contexts(place, shown, [str(place.folders[0])], NUMBER)
    assert all(frame.is_empty() for frame in found.values())
