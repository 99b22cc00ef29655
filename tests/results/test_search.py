"""Searches: which cell is best in a repeat, and what a smaller search would find."""

import itertools

import numpy as np
import polars as pl
import pytest
from tessera.probes.verdicts import Scored, contrast
from tessera.results.search import TestSplit, chances, curve, ranked
from tessera.study.grid import CELL


def cells(cv_KR, f1_KR):
    """Scores of K cells in R repeats."""
    place = dict.fromkeys([key for key in CELL if key not in ("features", "pooling")])
    rows = [
        place | {"features": "sae", "pooling": f"top{k}", "draw": 0, "repeat": r, "cv_macro_f1": cv, "macro_f1": f1}
        for k, (several, tests) in enumerate(zip(cv_KR, f1_KR, strict=True))
        for r, (cv, f1) in enumerate(zip(several, tests, strict=True))
    ]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(place, pl.String))


def test_each_repeat_chooses_by_its_own_folds():
    found = ranked(cells([[0.9, 0.5], [0.8, 0.6], [0.1, 0.6]], [[0, 0]] * 3), ["pooling"])
    assert found == {0: [("top0",), ("top1",), ("top2",)], 1: [("top1",), ("top2",), ("top0",)]}


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_the_expected_best_of_k_is_the_mean_over_all_subsets(budget):
    generator = np.random.default_rng(0)
    cv, f1 = generator.random((5, 1)), generator.random((5, 1))
    best = [f1[max(some, key=lambda k: cv[k, 0]), 0] for some in itertools.combinations(range(5), budget)]
    found = curve(cells(cv, f1))
    assert found["cells_searched"].to_list() == [1, 2, 3, 4, 5]
    assert found["macro_f1"][budget - 1] == pytest.approx(np.mean(best))
    assert chances(5, budget).sum() == pytest.approx(1)


def test_sides_of_one_dictionary_share_its_draws():
    """Binarised against real-valued latents of the same SAEs: the luck of a draw is on both sides, and cancels."""
    generator = np.random.default_rng(0)
    rows = []
    for draw, right in enumerate((0.6, 0.75, 0.9)):
        hits = generator.random(400) < right
        for threshold in ("none", "1.0"):
            place = dict.fromkeys(CELL) | {"features": "sae", "model": "m", "width": "64", "threshold": threshold}
            for n, hit in enumerate(hits):
                said = {"id": str(n), "group": n, "label": "a", "predicted": "a" if hit else "b"}
                rows.append(place | {"draw": draw, "repeat": 0} | said)
    frame = pl.DataFrame(rows, schema_overrides=dict.fromkeys(CELL, pl.String), infer_schema_length=None)
    tests = TestSplit(frame.with_columns(layer=pl.lit(1)))
    ranking = [{0: [cell]} for cell in tests.draws]
    effect = contrast(*(tests.scored(one) for one in ranking))
    assert [len(draws) for draws in effect.draws_D] == [3] and effect.error == 0
    alone = contrast(tests.scored(ranking[0]), Scored(np.zeros((3, 1)), np.zeros((1, 400))))
    assert len(alone.draws_D) == 2 and alone.error > 0.06
