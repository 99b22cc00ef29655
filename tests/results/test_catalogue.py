"""The catalogue of tables: what stands in it is there, and what is there stands in it."""

from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from refusals import fails
from tessera.results import catalogue
from tessera.results.catalogue import TABLES
from tessera.results.columns import COLUMNS, meaning
from tessera.results.writing import Writer

ROOT = Path(__file__).parents[2]
FIGURES = [figure for table in TABLES.values() for figure in table.figures]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_meaning(name):
    assert [column for column in TABLES[name].columns if not meaning(column)] == []
    assert len({*TABLES[name].columns}) == len(TABLES[name].columns)


def test_every_meaning_is_of_a_column():
    columns = {column for table in TABLES.values() for column in table.columns}
    varying = {"architecture", "variance_explained", "variance_explained_per_token", "l0", "dead", "dense"}
    varying |= {"held_out_tokens"}
    assert {*COLUMNS} - columns == varying and TABLES["saes"].varying == "|".join(sorted(varying, key=[*COLUMNS].index))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.draw)
def test_every_figure_can_be_drawn_and_has_a_caption(figure):
    module, _, function = figure.draw.partition(".")
    assert callable(getattr(import_module(f"tessera.report.{module}"), function))
    assert (ROOT / "workflow/report" / f"{figure.caption or figure.name}.rst").read_text().strip()


def test_every_caption_is_of_a_figure_and_names_no_wildcard():
    captions = {figure.caption or figure.name for figure in FIGURES} | {"page"}
    files = list((ROOT / "workflow/report").iterdir())
    assert {file.name for file in files} == {f"{caption}.rst" for caption in captions}
    assert [file.name for file in files if "wildcards" in file.read_text()] == []


def test_a_table_of_other_columns_is_not_written(tmp_path):
    columns = TABLES["provenance"].columns
    frame = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    writer = Writer({"provenance": tmp_path / "p.parquet", "provenance_csv": tmp_path / "p.csv"}, [])
    for other, said in (
        (frame.drop("item"), "['item']"),
        (frame.with_columns(more=pl.lit(1)), "['more']"),
        (frame.select(reversed(columns)), str([*reversed(columns)])),
    ):
        fails(lambda other=other: writer.write(provenance=other), "provenance: its columns are not those", said)
    assert list(tmp_path.iterdir()) == []
    writer.write(provenance=frame)
    assert len(list(tmp_path.iterdir())) == 2


def test_columns_that_vary_are_let_through():
    columns = [*TABLES["datasets"].columns, "truncated_m", "truncated_big model"]
    TABLES["datasets"].check(columns)
    fails(lambda: TABLES["datasets"].check([*columns, "truncated_"]), "truncated_")


def test_the_docs_have_the_tables_and_their_columns():
    assert (ROOT / "docs/tables.md").read_text() == catalogue.docs()
