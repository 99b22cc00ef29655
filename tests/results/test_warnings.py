"""What a reader should doubt: each kind planted, and none where there is nothing."""

import polars as pl
import pytest
from tessera.results.provenance import fact_table
from tessera.results.warnings import ADVICE, warning_table

CELL = {
    "features": "sae",
    "model": "m",
    "layer": 2,
    "width": "1k",
    "pooling": "sum",
    "threshold": "none",
    "selection": "none",
    "probe": "logistic",
    "data": "d",
    "split": "test",
    "density": 0.5,
    "converged": True,
    "C_at_edge": False,
    "control": False,
    "frozen": None,
    "draw": 0,
}
SAE = {
    "model": "m",
    "layer": 2,
    "width": "1k",
    "l0_on_data": 70.0,
    "published_l0": 71.0,
    "warning": None,
    "dead": 0.0,
    "frozen": None,
} | {"draw": 0}
NORMS = {"model": "m", "layer": 2, "tokens": 1000, "massive": 0.0, "massive_first": None}
SPLIT = {
    "data": "d",
    "split": "test",
    "examples": 50,
    "repeated_texts": 0,
    "texts_of_two_labels": 0,
    "texts_in_training": 0,
    "near_in_training": 0,
    "labels_alike": None,
    "truncated_m": 0,
}
TRAIN = {**SPLIT, "split": "train", "examples": 200}
COMMITS = [["code", "tessera", "activations", f"commit {number}"] for number in range(2)]
FACTS = [*COMMITS, ["model", "m", "model.safetensors", "sha256:1"], ["library", "torch", "activations", "2"]]


def table(cells=(CELL,), saes=(SAE,), norms=(NORMS,), splits=(TRAIN, SPLIT), facts=FACTS) -> list[tuple]:
    saes = pl.DataFrame(saes, schema_overrides={"warning": pl.String, "frozen": pl.String, "published_l0": pl.Float64})
    norms = pl.DataFrame(norms, schema_overrides={"massive_first": pl.Float64})
    found = warning_table(pl.DataFrame(cells), saes, norms, pl.DataFrame(splits), fact_table(facts))
    assert found["advice"].to_list() == [ADVICE[warning] for warning in found["warning"]]
    return found.drop("advice").rows()


def test_a_sound_study_has_no_warning():
    assert table() == []
    dense = [CELL | {"features": kind, "density": 1.0} for kind in ("hidden", "tfidf")]
    assert table(cells=dense) == []  # hidden states are dense by nature


@pytest.mark.parametrize(
    ("planted", "row"),
    [
        ({"splits": [TRAIN, SPLIT | {"texts_in_training": 3}]}, ("leakage", "d, split test", 3, 50, None)),
        (
            {"splits": [TRAIN | {"texts_of_two_labels": 4}, SPLIT]},
            ("texts with two labels", "d, split train", 4, 200, None),
        ),
        (
            {"splits": [TRAIN, SPLIT | {"near_in_training": 4}]},
            ("near-duplicates in training", "d, split test", 4, 50, None),
        ),
        (
            {"splits": [TRAIN | {"labels_alike": "'No', 'no'"}, SPLIT]},
            ("labels alike", "d", 1, None, "'No', 'no'"),
        ),
        ({"splits": [TRAIN | {"repeated_texts": 25}, SPLIT]}, ("repeated texts", "d, split train", 25, 200, None)),
        (
            {"splits": [TRAIN | {"truncated_m": 17}, SPLIT | {"truncated_m": 17}]},
            ("truncated examples", "d, read by m", 17, 250, None),
        ),
        (
            {"cells": [CELL, CELL | {"threshold": "0.0", "density": 0.95}]},
            ("saturated feature matrices", "d, SAE, m", 1, 2, "layer 2, width 1k, pooling sum, threshold 0.0"),
        ),
        (
            {"cells": [CELL | {"density": 0.0}]},
            ("empty feature matrices", "d, SAE, m", 1, 1, "layer 2, width 1k, pooling sum, threshold none"),
        ),
        (
            {"cells": [CELL | {"features": "tfidf", "converged": False, "model": None, "layer": None, "width": None}]},
            ("probes that did not converge", "d, TF-IDF", 1, 1, "pooling sum, threshold none"),
        ),
        (
            {"cells": [CELL | {"layer": layer, "C_at_edge": True} for layer in range(5)]},
            (
                "C at the edge of its grid",
                "d, SAE, m",
                5,
                5,
                "; ".join(f"layer {layer}, width 1k, pooling sum, threshold none" for layer in range(3))
                + " and 2 more",
            ),
        ),
        (
            {"saes": [SAE | {"l0_on_data": 210.0, "warning": "off"}]},
            ("L0 off the published one", "m, layer 2, width 1k", 1, 1, "L0 210, published 71"),
        ),
        ({"saes": [SAE | {"dead": 0.25}]}, ("dead latents", "m, layer 2, width 1k", 256, 1024, None)),
        ({"saes": [SAE | {"dense": 0.125}]}, ("dense latents", "m, layer 2, width 1k", 128, 1024, None)),
        (
            {
                "norms": [
                    NORMS | {"massive": 0.08, "massive_first": 0.75},
                    NORMS | {"massive": 0.02, "massive_first": 0.5},
                ]
            },
            ("massive tokens", "m, layer 2", 100, 2000, "70% are the first token of their text"),
        ),
        (
            {"facts": [*FACTS, ["model", "m", "model.safetensors", "sha256:2"]]},
            ("activations of different origin", "model m, model.safetensors", 2, None, "sha256:1; sha256:2"),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_each_doubt_is_counted(planted, row):
    assert table(**planted) == [row]


def test_what_is_handled_or_rare_is_left_to_the_tables():
    splits = [TRAIN | {"repeated_texts": 19}, SPLIT | {"near_in_training": 2, "truncated_m": 5}]
    norms = [NORMS | {"massive": 0.005, "massive_first": 1.0}]
    assert table(splits=splits, saes=[SAE | {"dead": 0.04, "dense": 0.02}], norms=norms) == []


def test_what_was_drawn_once_is_named():
    trained, control = SAE | {"architecture": "jumprelu"}, CELL | {"model": "r", "control": True}
    once = [("drawn once", "r, control", 1, 1, None), ("drawn once", "m, its SAEs", 1, 1, None)]
    assert table(cells=[CELL, control], saes=[trained, trained | {"model": "r"}]) == once
    again = [one | {"draw": draw} for one in (trained, control) for draw in (0, 1)]
    assert table(cells=[CELL, *again[2:]], saes=again[:2]) == []
    frozen = trained | {"width": "1k_frozen", "frozen": "all"}
    row = ("drawn once", "m, its frozen SAEs (all)", 1, 1, None)
    assert table(saes=[*again[:2], frozen]) == [row]
    assert table(saes=[*again[:2], frozen, frozen | {"draw": 1}]) == []


def test_random_directions_are_dead_or_dense_without_a_warning():
    assert table(saes=[SAE | {"frozen": "all", "dead": 0.5, "dense": 0.2}]) == []


def test_a_cell_is_at_the_edge_where_most_of_its_fits_are():
    fits = [CELL | {"C_at_edge": repeat < 2, "repeat": repeat} for repeat in range(4)]
    assert table(cells=fits) == [] and [row[2:4] for row in table(cells=fits[:3])] == [(1, 1)]


def test_a_cell_counts_once_however_many_splits_it_is_scored_on():
    cells = [CELL | {"C_at_edge": True, "split": split} for split in ("test", "shifted")]
    assert [row[2:4] for row in table(cells=cells)] == [(1, 1)]


def test_serious_warnings_come_first():
    splits = [TRAIN | {"truncated_m": 30}, SPLIT | {"texts_in_training": 1, "truncated_m": 30}]
    rows = table(cells=[CELL | {"C_at_edge": True}], saes=[SAE | {"dead": 0.5}], splits=splits)
    assert [row[0] for row in rows] == [
        "leakage",
        "truncated examples",
        "C at the edge of its grid",
        "dead latents",
    ]


def test_a_study_without_saes():
    no_saes = pl.DataFrame(schema={key: pl.String for key in SAE if key != "dead"} | {"draw": pl.Int64})
    norms, splits = pl.DataFrame([NORMS], schema_overrides={"massive_first": pl.Float64}), pl.DataFrame([TRAIN, SPLIT])
    found = warning_table(pl.DataFrame([CELL]), no_saes, norms, splits, fact_table(FACTS))
    assert found.is_empty()
