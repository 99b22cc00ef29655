"""The page of contexts: tokens marked where they stand, whatever a text holds."""

import polars as pl
from tessera.report.context_page import AROUND, contexts_page
from tessera.results.catalogue import TABLES

ENTRY = TABLES["contexts"]
PLACE = {"model": "m", "layer": 1, "width": "64", "data": "d", "latent": 7}


def page(**row) -> str:
    """The page of one context."""
    empty = dict.fromkeys(ENTRY.columns) | PLACE
    about = {"stratum": 1, "id": "a", "split": "test", "label": "b", "tokens": 3, "text": "one two three"}
    kinds = {"activation": pl.List(pl.Float32), "piece": pl.List(pl.String), "text": pl.String, "stratum": pl.Int64}
    kinds |= dict.fromkeys(("start", "end", "row", "column"), pl.List(pl.UInt32))
    return contexts_page(ENTRY, pl.DataFrame([empty | about | row], schema_overrides=kinds))


def test_the_token_that_fires_is_marked_with_its_activation():
    found = page(start=[4], end=[7], activation=[2.5])
    assert 'title="2.5">two</mark>' in found and "one <mark" in found and "</mark> three" in found


def test_the_stronger_the_darker():
    found = page(start=[0, 4], end=[3, 7], activation=[1.0, 4.0])
    assert found.index("0.34") < found.index("0.90")


def test_markup_in_texts_labels_and_ids_stays_text():
    found = page(text="<b>x</b>", label="<i>", id="<u>", start=[0], end=[3], activation=[1.0])
    assert "&lt;b&gt;</mark>x&lt;/b&gt;" in found and "<i>" not in found and "<u>" not in found and "<b>" not in found


def test_a_long_text_is_shown_around_its_strongest_token():
    text = "a" * 1000 + "HERE" + "b" * 1000
    found = page(text=text, start=[1000], end=[1004], activation=[1.0])
    assert f"… {'a' * AROUND}<mark" in found and f"</mark>{'b' * AROUND} …" in found


def test_of_several_tokens_on_one_character_the_strongest_is_marked():
    found = page(text="a😀b", start=[1, 1, 2], end=[2, 2, 2], activation=[0.5, 9.0, 4.0])
    assert found.count("<mark") == 1 and 'title="9">😀</mark>' in found


def test_a_silent_text_says_how_alike_it_is():
    found = page(stratum=None, similarity=0.873, start=None, end=None, activation=None)
    assert "silent" in found and "similarity 0.87" in found and "one two three" in found and "<mark" not in found


def test_pieces_and_patches_stand_behind_what_has_no_characters():
    pieces = page(start=[None], end=[None], piece=["##wo"], activation=[1.0])
    assert "##wo</mark>" in pieces and "one two three" in pieces
    patches = page(text="digest", start=[None], end=[None], row=[2], column=[5], activation=[1.0])
    assert "patch 2, 5</mark>" in patches
