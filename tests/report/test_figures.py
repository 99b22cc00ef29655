"""The figures show the numbers of their tables."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from tessera.report import claim_figures, evidence_figures, grid_figures, regime_figures, transfer_figures
from tessera.results.contestants import ALL
from tessera.study.grid import SELECTIONS


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def texts(figure):
    """Everything that is written in a figure."""
    figure.canvas.draw()
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return [artist.get_text() for artist in found if artist.get_text()]


def interval(value):
    return {"macro_f1": value, "macro_f1_low": value - 0.1, "macro_f1_high": value + 0.1}


def test_claims_count_verdicts_and_leave_out_the_row_of_all():
    row = {
        "claim": "a > b",
        "role": "secondary",
        "metric": "macro_f1",
        "split": "test",
        "difference_low": -0.1,
        "difference_high": 0.2,
    }
    each = [("holds", 0.1), ("holds", 0.2), ("undecided", 0.0), ("fails", -0.3)]
    rows = [row | {"on": str(n), "verdict": verdict, "difference": d} for n, (verdict, d) in enumerate(each)]
    rows.append(row | {"on": ALL, "verdict": "holds", "difference": 0.05})
    assert "2 / 1 / 1" in texts(claim_figures.claims(pl.DataFrame(rows)))
    nats = row | {"claim": "c > d", "role": "primary", "metric": "answers", "on": "s: answers", "difference": 3.0}
    figure = claim_figures.claims(pl.DataFrame([*rows, nats | {"verdict": "holds"}]))
    assert {"2 / 1 / 1", "1 / 0 / 0"} <= set(texts(figure))  # counted, though it has no place on the axis
    assert figure.axes[0].get_xlim()[1] < 1
    assert [label.get_fontweight() for label in figure.axes[0].get_yticklabels()] == ["normal", "bold"]


def test_behaviour_names_everyone_and_the_target():
    rows = [
        {"data": "d", "split": "test", "target": "big", "role": role, "contestant": name, **interval(0.6)}
        for role, name in (("source", "SAE of small"), ("target", "SAE of big"), ("control", "TF-IDF"))
    ]
    said = texts(claim_figures.behaviour(pl.DataFrame(rows)))
    assert {"SAE of small", "SAE of big", "TF-IDF", "d: what big did"} <= set(said)


def test_recovery_has_a_row_per_sae_and_a_point_per_draw():
    place = {"model": "m", "layer": 0, "null_mcc": 0.3}
    fits = [("64", 0.8, 0.2), ("64", 0.9, 0.3), ("128", 1.0, 1.0)]
    found = [place | {"width": width, "mcc": mcc, "recovered": share} for width, mcc, share in fits]
    figure = evidence_figures.recovery(pl.DataFrame(found))
    assert {"64", "128"} <= {*texts(figure)}
    assert sorted(line.get_xdata().tolist() for line in figure.axes[0].lines) == [[0.3] * 3, [0.8, 0.9, 1.0]]
    assert [line.get_xdata().tolist() for line in figure.axes[1].lines] == [[0.2, 0.3, 1.0]]


def test_true_latents_are_filled_where_they_are_first_and_at_the_edge_without_a_rank():
    place = {"model": "m", "layer": 0, "data": "d", "class": "yes"}
    ranks = [("64", 3, 1), ("64", 5, 4), ("128", 3, None), ("128", 5, 2)]
    found = [place | {"width": width, "direction": number, "rank": rank} for width, number, rank in ranks]
    figure = evidence_figures.true_latents(pl.DataFrame(found))
    assert {"64", "128", "none", "d, yes: 3", "d, yes: 5"} <= {*texts(figure)}
    filled, hollow = (
        [line for line in figure.axes[0].lines if (line.get_mfc() == "white") == empty] for empty in (0, 1)
    )
    assert [line.get_xdata().tolist() for line in filled] == [[1], [2]]
    assert [line.get_xdata().tolist() for line in hollow] == [[4], [8]]


def transferred():
    cells = [("1", "512", "sum", "none"), ("3", "512", "max", "1.0"), ("3", "1k", "sum", "q50")]
    rows = []
    for number, (layer, width, pooling, threshold) in enumerate(cells):
        place = {"model": "m", "layer": int(layer), "width": width, "pooling": pooling, "threshold": threshold}
        place |= {"features": "sae", "control": False, "frozen": None, "fraction": 1.0, "repeat": 0, "scenario": "s"}
        for source in "ab":
            for target in "ab":
                about = {"source": source, "target": target}
                about["condition"] = "native" if source == target else "source"
                rows.append(place | about | interval(0.8 if source == target else 0.6 - 0.1 * number))
    return pl.DataFrame(rows)


def test_every_ranking_has_a_line_of_its_own_among_selections():
    rows = [
        {
            "features": "sae",
            "probe": "logistic",
            "split": "test",
            "data": "d",
            "threshold": "none",
            "frozen": None,
            "control": False,
        }
        | {"selection": f"{method}-{k}", "cv_macro_f1": 0.5, "macro_f1": 0.5}
        for method in SELECTIONS
        for k in (1, 8)
    ]
    assert {*SELECTIONS.values()} <= {*texts(grid_figures.selection(pl.DataFrame(rows)))}


def test_the_gap_is_the_mean_of_its_cells():
    said = texts(transfer_figures.gap(transferred()))
    assert {"layer", "width", "pooling", "threshold", "512", "1k", "q50"} <= set(said)
    assert "-.20" in said  # layer 1: .6 against .8
    assert "-.35" in said  # layer 3: .5 and .4 against .8
    assert "-.40" in said  # q50


def test_a_heat_map_with_intervals_on_demand():
    best = transferred().filter(threshold="none")
    assert {".80", ".60"} <= set(texts(transfer_figures.matrix(best)))
    assert {".80\n.70–.90", ".60\n.50–.70"} <= set(texts(transfer_figures.matrix(best, intervals=True)))


def test_search_shows_what_the_best_of_k_cells_is_worth():
    rows = [
        {"data": data, "contestant": "SAE", "cells_searched": k, "macro_f1": 0.5 + k / 10 + 0.1 * (data == "e")}
        for data, most in (("d", 3), ("e", 2))
        for k in range(1, most + 1)
    ]
    (line,) = (line for line in claim_figures.search(pl.DataFrame(rows)).axes[0].lines if line.get_label() == "SAE")
    assert list(line.get_xdata()) == [1, 2]  # of three, one set alone says something
    np.testing.assert_allclose(line.get_ydata(), [0.65, 0.75])


def test_regimes_are_means_over_the_data_sets_a_contestant_has_from_mild_to_harsh():
    keys = [("none", None, "test"), ("scarcity", 0.3, "test"), ("scarcity", 0.1, "test"), ("noise", 0.2, "test")]
    keys += [("none", None, "late"), ("none", None, "later"), ("scarcity", 0.1, "late")]
    rows = [
        {"regime": regime, "level": level, "data": data, "split": split, "contestant": contestant}
        | {"macro_f1": 0.9 - number / 10 - 0.2 * (data == "e")}
        for number, (regime, level, split) in enumerate(keys)
        for data in "de"
        for contestant in ("SAE", "TF-IDF")
        if (contestant, data) != ("TF-IDF", "e") and (data, split) not in (("e", "late"), ("e", "later"))
    ]
    figure = regime_figures.regimes(pl.DataFrame(rows))
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [
        "scarcity",
        "noise",
        "shifted test sets",
    ]
    scarcity, noise = figure.axes[:2]
    assert [label.get_text() for label in scarcity.get_xticklabels()] == ["1", "0.3", "0.1"]
    assert [label.get_text() for label in noise.get_xticklabels()] == ["0", "0.2"]
    drawn = {(axis.get_title(), line.get_label()): line.get_ydata() for axis in figure.axes for line in axis.lines}
    np.testing.assert_allclose(drawn["scarcity", "SAE"], [0.8, 0.7, 0.6])
    np.testing.assert_allclose(drawn["scarcity", "TF-IDF"], [0.9, 0.8, 0.7])
    np.testing.assert_allclose(drawn["noise", "SAE"], [0.8, 0.5])
    np.testing.assert_allclose(drawn["shifted test sets", "SAE"], [0.9, 0.45])  # of the set that has any


def test_selected_latents_by_their_number():
    rows = [
        {
            "features": "sae",
            "model": "m",
            "split": "test",
            "data": data,
            "threshold": threshold,
            "selection": selection,
            "probe": "logistic",
            "control": False,
            "frozen": frozen,
        }
        | {"cv_macro_f1": 0.9 if frozen else 0.5, "macro_f1": 0.1 if frozen else f1 + 0.1 * (data == "e")}
        for frozen in ("all", None)  # the former are no cells of the SAE
        for data in "de"
        for threshold in ("none", "1.0")
        for selection, f1 in (("none", 0.8), ("anova-8", 0.6), ("anova-32", 0.7), ("l1-8", 0.65))
    ]
    figure = grid_figures.selection(pl.DataFrame(rows, infer_schema_length=None))
    assert {"real-valued", "binarised", "ANOVA F", "L1 path", "all latents"} <= set(texts(figure))
    line = next(line for line in figure.axes[0].lines if line.get_label() == "ANOVA F")
    np.testing.assert_allclose(line.get_ydata(), [0.65, 0.75])
    assert list(line.get_xdata()) == [8, 32]


def shown(**columns) -> pl.DataFrame:
    """A row of shown_latents."""
    row = {"class": "a", "nth": 1, "latent": 7, "explanation": None, "fires_on": "rain", "unspecific": False}
    kinds = {"explanation": pl.String, "fires_on": pl.String, "nth": pl.Int64}
    return pl.DataFrame([row | {"contribution_gap": 0.5} | columns], schema_overrides=kinds)


def test_latents_are_called_what_a_file_says_else_by_the_tokens_that_fire_them():
    for columns, name in (
        ({}, "rain  7"),
        ({"explanation": "weather"}, "weather  7"),
        ({"unspecific": True}, "rain  7*"),
    ):
        (axis,) = evidence_figures.contributions(shown(**columns)).axes
        assert [text.get_text() for text in axis.get_yticklabels()] == [name]


def test_signs_of_formulas_in_labels_and_tokens_stay_signs():
    figure = evidence_figures.contributions(shown(**{"class": "$_$", "fires_on": "$x^$"}))
    figure.canvas.draw()
    assert figure.axes[0].get_title(loc="left") == "class $_$"


def test_no_latent_to_show_is_said():
    figure = evidence_figures.contributions(shown().clear())
    assert "no latent" in figure.axes[0].get_title(loc="left")


def test_a_map_tells_every_class_apart_and_the_test_split():
    names = [f"${number}" for number in range(10)]
    rows = [
        {"map": title, "label": name, "split": split, "x": 0.0, "y": 1.0}
        for title in ("SAE latents", "hidden states")
        for name in names
        for split in ("train", "test")
    ]
    figure = evidence_figures.maps(pl.DataFrame(rows))
    assert {*names} <= {*texts(figure)}
    for axis in figure.axes:
        drawn = [(dots.get_edgecolor().tobytes(), dots.get_paths()[0].vertices.tobytes()) for dots in axis.collections]
        assert len({*drawn}) == len(names)
        assert all(dots.get_facecolor()[:, 3].tolist() == [1, 0] for dots in axis.collections)
