"""The report's pages, read as HTML."""

from html.parser import HTMLParser

import polars as pl
from studies import study_of
from tessera.report import pages
from tessera.results.catalogue import TABLES
from tessera.results.entries import Table


class Cells(HTMLParser):
    """The texts of a page's table cells, row by row, and what else it says."""

    def __init__(self, page: str):
        super().__init__()
        self.rows, self.text, self.inside = [], "", None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside in ("td", "th", "small") and self.rows:
            self.rows[-1][-1] += data
        else:
            self.text += data


def entry(*columns):
    return Table("best", "tables", "row", columns, about="About it.")


def test_a_table_with_its_intervals():
    frame = {"name": ["a<b>&", "c"], "f1": [0.51234, None], "f1_low": [0.4, None], "f1_high": [0.6, None]}
    table = pl.DataFrame(frame | {"tau": [None, None], "converged": [True, False], "cells_searched": [3, 4]})
    page = pages.table_page(entry(*table.columns), table)
    found = Cells(page)
    assert found.rows == [
        ["name", "f1", "converged", "cells searched"],
        ["a<b>&", "0.5123 [0.400, 0.600]", "yes", "3"],
        ["c", "", "no", "4"],
    ]
    assert "About it." in found.text
    assert '<th title="did the solver converge?">' in page


def test_a_long_table_says_what_it_leaves_out():
    page = pages.table_page(entry("examples"), pl.DataFrame({"examples": range(pages.LIMIT + 5)}))
    assert f"the first {pages.LIMIT} of {pages.LIMIT + 5} rows" in page
    assert len(Cells(page).rows) == pages.LIMIT + 1


def test_an_empty_table_is_a_page_too():
    page = pages.table_page(TABLES["warnings"], pl.DataFrame(schema=["warning"]))
    assert Cells(page).rows == [["warning"]]


def test_the_study_page_holds_config_and_versions():
    facts = pl.DataFrame([["library", "torch", "activations", "2.13.0"]], schema=["kind", "name", "item", "value"],
                         orient="row")  # fmt: skip
    cells = pl.DataFrame({"split": ["test", "test", "shift"]})
    study = study_of(models={"m": {"passes": []}}, datasets={"d": {}, "e": {}}, probe={"note": "<script>"}, seed=3)
    page = pages.study_page(study, cells, facts)
    assert "1 models, 2 data sets, 2 cells." in page
    assert "seed: 3" in page and "library torch (activations): 2.13.0" in page
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_runtimes_are_summed_by_rule(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name, row in {
        "probe/model=m/a.tsv": "60.0\t0:01:00\t100.5\t1\t1\t1\t1\t1\t1\t30.0",
        "probe/model=m/b.tsv": "120.0\t0:02:00\t300.5\t1\t1\t1\t1\t1\t1\t90.0",
        "tables.tsv": "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\tNA",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(head + row + "\n")
    found = pages.runtimes(tmp_path).rows()
    assert found[0] == ("probe", 2, 3.0, 2.0, 120.0, 300.5)
    assert found[1][:2] == ("tables", 1) and found[1][5] is None
    assert pages.runtimes(tmp_path / "nothing").is_empty()
