"""The registry of kinds: what is not in it is refused, and what is added to it is drawn, merged and found."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import polars as pl
import pytest
import yaml
from refusals import fails
from tessera.base import hive
from tessera.features.registry import KINDS, kind
from tessera.features.tfidf import Tfidf
from tessera.report.grid_figures import baselines
from tessera.results.catalogue import TABLES
from tessera.results.contestants import CONTESTANTS
from tessera.results.merging import merge_cells
from tessera.results.provenance import fact_table
from tessera.results.warnings import warning_table
from tessera.study.config import load
from tessera.study.grid import AXES, CELL

SHIPPED = Path(__file__).parents[2] / "config" / "config.yaml"
REFUSED = ("no kind of features 'nonsense'", f"registered: {', '.join(KINDS)}")
SAMPLES = {
    "layer": "3",
    "width": "16k_mine",
    "pooling": "gray16",
    "threshold": "1e-05",
    "selection": "anova-8",
    "probe": "lda",
}


def test_an_unknown_kind_is_refused():
    fails(lambda: kind("nonsense"), *REFUSED)


def test_cells_of_an_unknown_kind_are_not_merged():
    fails(lambda: merge_cells(["results/probes/features=nonsense/data=d/scores.parquet"]), *REFUSED)


def test_cells_of_an_unknown_kind_are_not_warned_of():
    numbers = {"density": [0.5], "converged": [True], "C_at_edge": [False]}
    place = {axis: [None] for axis in CELL} | {"features": ["nonsense"], "data": ["d"], "split": ["test"]}
    text = dict.fromkeys(place, pl.String)
    columns = {"data": pl.String, "split": pl.String, "examples": pl.Int64}
    saes, datasets = pl.DataFrame(), pl.DataFrame(schema=columns)
    norms = pl.DataFrame(schema=dict.fromkeys(TABLES["norms"].columns, pl.Float64))
    scores = pl.DataFrame(place | numbers, schema_overrides=text)
    fails(lambda: warning_table(scores, saes, norms, datasets, fact_table([])), *REFUSED)


@pytest.mark.parametrize("more", [1, 3])
def test_an_eighth_and_a_tenth_contestant_are_drawn_as_none_before(monkeypatch, more):
    for number in range(more):
        new = Tfidf()
        new.name, new.title = f"new{number}", f"new kind {number}"
        monkeypatch.setitem(KINDS, new.name, new)
        monkeypatch.setitem(CONTESTANTS, new.title, pl.col("features") == new.name)
    assert len(CONTESTANTS) > 7 + more
    ends = {"macro_f1": 0.5, "macro_f1_low": 0.4, "macro_f1_high": 0.6}
    there = [*CONTESTANTS][:: len(CONTESTANTS) // 7][:7] + [*CONTESTANTS][-more:]  # of many that could be
    rows = [{"data": "d", "split": "test", "contestant": name, **ends} for name in there]
    figure = baselines(pl.DataFrame(rows))
    marks = {one.get_label(): one.lines[0] for one in figure.axes[0].containers}
    plt.close(figure)
    assert [*marks] == there
    assert len({(mark.get_color(), mark.get_marker()) for mark in marks.values()}) == len(there) == 7 + more


@pytest.mark.parametrize("name", KINDS)
def test_the_axes_of_a_kind_are_axes_of_paths_and_of_tables(name):
    axes = {*KINDS[name].place, *KINDS[name].axes}
    assert axes <= {*AXES} and axes <= {*CELL}
    assert KINDS[name].name == name and re.fullmatch(AXES["features"].pattern, name)


@pytest.mark.parametrize("name", KINDS)
def test_the_paths_of_a_kind_are_read_back(name):
    one = kind(name)
    own = {axis: SAMPLES.get(axis, f"a.{axis}-1") for axis in (*one.place, "data", *one.axes, "probe")}
    assert [axis for axis, value in own.items() if not re.fullmatch(AXES[axis].pattern, value)] == []
    assert hive.keys(one.path.format(part="scores", **own)) == {"features": name} | own
    moved = {axis: own[axis] for axis in (*one.place, *one.transfer_axes)} | {"scenario": "s", "source": "joint"}
    assert hive.keys(one.transfer_path.format(part="scores", **moved)) == {"features": name} | moved


def test_the_values_of_a_study_fit_the_axes_of_its_paths():
    study = load(yaml.safe_load(SHIPPED.read_text()))
    for one in KINDS.values():
        for axis, values in one.values(study).items():
            assert [value for value in values if not re.fullmatch(AXES[axis].pattern, value)] == []
