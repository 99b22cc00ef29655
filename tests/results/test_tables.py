"""Tables merged from cells, also where a study has none of a kind."""

import itertools

import polars as pl
import pytest
from refusals import fails
from tessera.results.contestants import CONTESTANTS, CONTROLS
from tessera.results.merging import merge_cells, merge_in_parts, scan
from tessera.results.tables import best_cells, search_table, with_control
from tessera.study.grid import CELL


def write(tmp_path, place, **columns):
    file = tmp_path / "results/probes" / place / "scores.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame(columns).write_parquet(file)
    return str(file)


def cells(tmp_path):
    """Two SAE cells, a hidden one and a TF-IDF one of one data set."""
    sae = "features=sae/model=m/layer=2/width=1k/data=d/pooling=sum/threshold={}/probe=logistic"
    found = {
        sae.format("0.50"): (0.9, 0.5),
        sae.format("q50"): (0.6, 0.8),
        "features=hidden/model=m/layer=2/data=d/pooling=mean/probe=logistic": (0.7, 0.6),
        "features=tfidf/data=d/pooling=word/probe=logistic": (0.5, 0.4),
    }
    return [
        write(tmp_path, place, split="test", macro_f1=test, cv_macro_f1=cv, repeat=0, draw=0)
        for place, (test, cv) in found.items()
    ]


def test_cells_of_every_kind_stand_in_one_table(tmp_path):
    scores = merge_cells(cells(tmp_path)).collect()
    assert scores.columns == [*CELL, "split", "macro_f1", "cv_macro_f1", "repeat", "draw"]
    assert scores["features"].to_list() == ["hidden", "sae", "sae", "tfidf"]
    assert scores["threshold"].to_list() == [None, "0.50", "q50", None]
    assert scores["pooling"].to_list() == ["mean", "sum", "sum", "word"]
    assert scores.schema["layer"] == pl.Int64


def test_the_best_is_not_best_on_the_test_split(tmp_path):
    best = best_cells(with_control(merge_cells(cells(tmp_path)).collect(), {}, []))
    assert best.filter(contestant="SAE")["threshold"].to_list() == ["q50"]
    assert dict(best.select("contestant", "cells_searched").iter_rows()) == {"SAE": 2, "hidden states": 1, "TF-IDF": 1}


FROZEN = {"frozen": "all", "fixed": "decoder", "stuck": "encoder"}  # entry of saes → what stays random


@pytest.fixture
def with_frozen_ones(tmp_path):
    """The cells, and those of frozen SAEs that cross-validate better, of the model and of one of re-drawn weights."""
    place = "features=sae/model={}/layer=2/width={}/data=d/pooling=sum/threshold=q50/probe=logistic"
    files = cells(tmp_path)
    for number, (model, width) in enumerate([("r", "1k"), *itertools.product("mr", [f"1k_{name}" for name in FROZEN])]):
        scores = {"split": "test", "macro_f1": 0.4 + number / 100, "cv_macro_f1": 0.9 + number / 100}
        files.append(write(tmp_path, place.format(model, width), **scores, repeat=0, draw=0))
    frozen = [[model, f"1k_{name}", what] for model in "mr" for name, what in FROZEN.items()]
    return with_control(merge_cells(files).collect(), {"r": "m"}, frozen)


def test_frozen_saes_contend_by_themselves(with_frozen_ones):
    best = best_cells(with_frozen_ones)
    found = {name: (model, width) for name, model, width in best.select("contestant", "model", "width").iter_rows()}
    assert found == {
        "SAE": ("m", "1k"),
        "hidden states": ("m", None),
        "TF-IDF": (None, None),
        "frozen SAE": ("m", "1k_frozen"),
        "SAE, frozen decoder": ("m", "1k_fixed"),
        "SAE, frozen encoder": ("m", "1k_stuck"),
        "random SAE": ("r", "1k"),
        "frozen random SAE": ("r", "1k_frozen"),
        "random SAE, frozen decoder": ("r", "1k_fixed"),
        "random SAE, frozen encoder": ("r", "1k_stuck"),
    }
    assert [name for name in found if name in CONTROLS] == [*found][3:]
    assert dict(best.select("contestant", "cells_searched").iter_rows()) == dict.fromkeys(found, 1) | {"SAE": 2}
    assert best.filter(pl.col("contestant").str.contains("frozen"))["frozen"].to_list() == [*FROZEN.values()] * 2
    assert search_table(with_frozen_ones).group_by("contestant").len().sum()["len"][0] == len(found) + 1


def test_every_cell_is_of_one_contestant(with_frozen_ones):
    belongs = with_frozen_ones.select(pl.sum_horizontal(cells.cast(pl.Int64) for cells in CONTESTANTS.values()))
    assert belongs.to_series().to_list() == [1] * len(with_frozen_ones)


def test_a_study_without_saes(tmp_path):
    assert merge_cells([]).collect().shape == (0, len(CELL))
    parts = [file for file in cells(tmp_path) if "features=sae" not in file]
    best = best_cells(with_control(merge_cells(parts).collect(), {}, []))
    assert best["contestant"].unique().sort().to_list() == ["TF-IDF", "hidden states"]


def test_merged_in_parts_is_the_same_table(tmp_path):
    place = "features=sae/model={}/layer={}/width=1k/data={}/pooling=sum/threshold={}"
    axes = itertools.product(["a", "b"], [10, 9], ["x", "d"], ["q50", "1.0", "none"])
    files = [write(tmp_path, place.format(*values), latent=[number, 0]) for number, values in enumerate(axes)]
    whole = merge_cells(files).collect()
    for size in (1, 7, 100):
        assert pl.concat(merge_in_parts(files, size)).equals(whole)
    assert pl.concat(merge_in_parts([], 7)).columns == CELL


def test_folders_above_the_results_are_no_columns(tmp_path):
    above = tmp_path / "a=1" / "b=x=y"
    files = cells(above)
    assert scan(files[:2]).collect().columns == [
        *("split", "macro_f1", "cv_macro_f1", "repeat", "draw"),
        *("features", "model", "layer", "width", "data", "pooling", "threshold", "probe"),
    ]
    (tmp_path / "plain").mkdir()
    assert merge_cells(files).collect().equals(merge_cells(cells(tmp_path / "plain")).collect())


def test_a_folder_above_the_results_that_is_named_as_a_key_is_refused(tmp_path):
    files = cells(tmp_path / "model=old")
    fails(lambda: scan(files[:2]), "a folder above the results has the name of a key of theirs")
    assert scan(files[3:]).collect()["features"].to_list() == ["tfidf"]  # which has no model
    twice = cells(tmp_path / "a=1" / "a=2")
    fails(lambda: scan(twice[:2]), "of another above")
