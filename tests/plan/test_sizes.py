"""How many examples a data set has: counted when a run is planned, read off its file by a job."""

from pathlib import Path

import polars as pl
import pytest
from refusals import fails
from tessera.examples import examples
from tessera.plan import cells, data
from tessera.study import paths


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The names of the data sets that are read, in a folder that has them: 40 rows of each."""
    monkeypatch.chdir(tmp_path)
    for name in "de":
        rows = {"text": [f"{name} {i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
        pl.DataFrame(rows).write_csv(f"{name}.csv")
    seen, load = [], examples.load_examples
    monkeypatch.setattr(examples, "load_examples", lambda name, *a, **kw: seen.append(name) or load(name, *a, **kw))
    return seen


@pytest.fixture
def uncounted(made):
    study = made()
    study.sizes.clear()
    return study


def store(name, size):
    file = Path(paths.EXAMPLES.format(data=name))
    file.parent.mkdir(parents=True)
    pl.DataFrame({"example": range(size)}).write_parquet(file)


def test_a_job_reads_the_size_off_the_examples(read, uncounted):
    store("d", 31)
    data.read_sizes(uncounted, data.examples(uncounted))
    assert data.size(uncounted, "d") == 31 and list(cells.shards(uncounted, "d")) == [0, 1, 2, 3]
    assert read == []
    assert data.size(uncounted, "e") == 40  # whose file is not there
    assert read == ["e"]


def test_a_size_that_was_counted_stands(read, made):
    store("d", 31)
    assert data.size(made(), "d") == 25
    assert read == []


def test_a_size_is_read_once(read, uncounted):
    assert [data.size(uncounted, "d") for _ in range(3)] == [40] * 3
    assert read == ["d"]


def test_planning_reads_every_set_though_its_examples_are_there(read, uncounted):
    store("d", 31)
    data.count(uncounted)
    assert read == ["d", "e"] and uncounted.sizes == {"d": 40, "e": 40}


def test_planning_checks_every_row(read, uncounted):
    store("e", 40)
    with Path("e.csv").open("a") as file:
        file.write(",1\n")
    fails(lambda: data.count(uncounted), "config key datasets.e.text: row 40 has empty text")
