"""The page: pieces in it or in a folder beside it, the same bytes each time, and no text of a study as markup."""

import base64
import gzip
import re

import polars as pl
import pytest
from tessera.explorer import page

HOSTILE = "</script><script>alert(1)</script><!-- </ScRiPt >"
DRAWS = 'const end = "</script>";'  # in the place of the library that draws, which takes seconds to put together
FRAME = pl.DataFrame({"text": [HOSTILE], "label": [HOSTILE]})


@pytest.fixture(autouse=True)
def no_library(monkeypatch):
    monkeypatch.setattr(page.vl_convert, "javascript_bundle", lambda snippet: DRAWS)


def write(folder, number=3):
    pieces = ((f"texts/{HOSTILE}/{piece}", {"class": HOSTILE}, {"examples": FRAME}) for piece in range(number))
    file, beside = folder / "explorer.html", folder / "explorer"
    page.write_page(file, beside, {"question": HOSTILE}, {"claims": FRAME}, pieces)
    return file.read_text(), {one.name: one.read_text() for one in beside.iterdir()}


def inside(text):
    return dict(re.findall(r'<script type="text/plain" id="piece(\d+)">([\w+/=]+)</script>', text))


def test_a_small_study_stands_in_the_page(tmp_path):
    text, beside = write(tmp_path)
    assert [*inside(text)] == ["1", "2", "3", "0"] and beside == {}
    assert HOSTILE.encode() in gzip.decompress(base64.b64decode(inside(text)["1"]))


def test_a_large_one_lies_beside_it(tmp_path, monkeypatch):
    small, _ = write(tmp_path / "small")
    monkeypatch.setattr(page, "WITHIN", 500)
    text, beside = write(tmp_path / "large")
    found = [re.fullmatch(r'tesseraPiece\("(\w+)","([\w+/=]+)"\)\n', content) for content in beside.values()]
    assert [*inside(text)] == ["0"] and [f"{one[1]}.js" for one in found] == [*beside]
    assert sorted(one[2] for one in found) == sorted(inside(small)[number] for number in "123")


def test_a_folder_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "WITHIN", 0)
    assert len(write(tmp_path, 3)[1]) == 3
    assert len(write(tmp_path, 2)[1]) == 2


def test_no_file_of_another_study_is_read_as_one_of_this(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "WITHIN", 0)
    here = write(tmp_path / "a")[1]
    monkeypatch.setattr("test_page_pieces.FRAME", pl.DataFrame({"text": ["another"]}))
    assert not {*here} & {*write(tmp_path / "b")[1]}


@pytest.mark.parametrize("within", [0, 10**9])
def test_the_same_bytes_twice(tmp_path, monkeypatch, within):
    monkeypatch.setattr(page, "WITHIN", within)
    assert write(tmp_path / "a") == write(tmp_path / "b")


@pytest.mark.parametrize("within", [0, 10**9])
def test_no_text_of_a_study_is_markup(tmp_path, monkeypatch, within):
    monkeypatch.setattr(page, "WITHIN", within)
    text, beside = write(tmp_path)
    for written in (text, *beside.values()):
        assert "alert(1)" not in written
    assert text.lower().count("<script") == text.lower().count("</script")
