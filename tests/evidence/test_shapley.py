"""SHAP values of trees: of the very probe that was scored, adding up to what it says, and naming what was planted."""

from itertools import combinations
from math import factorial

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from places import SETTINGS, example_frame
from tessera.base.files import write_parquet
from tessera.evidence.shapley import LISTED, explain_trees, most_telling, shap_values
from tessera.features.registry import kind
from tessera.probes.registry import PROBES, probe_kind
from tessera.probes.task import Task
from tessera.study import paths

TREES = [name for name, one in PROBES.items() if one.trees]
NAMES = {2: ["a", "b"], 3: ["a", "b", "c"]}


def planted(classes: int) -> tuple[Task, np.ndarray]:
    """Hidden states whose column 3 alone tells the classes."""
    labels = NAMES[classes] * 60
    hidden_ED = np.random.default_rng(0).standard_normal((len(labels), 8)).astype(np.float32)
    hidden_ED[:, 3] = [4 * NAMES[classes].index(label) for label in labels]
    hidden_ED[:, 3] += np.random.default_rng(1).standard_normal(len(labels))
    return Task(example_frame(labels), **SETTINGS), hidden_ED


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("probe", TREES)
def test_values_are_of_the_probe_that_was_scored_and_add_up(probe, classes):
    task, hidden_ED = planted(classes)
    how, place = probe_kind(probe), (kind("hidden"), hidden_ED, "mean", None)
    (cell,) = task.fit(*place, ["none"], how)
    again, _, matrix_EK = task.refit(*place, "none", how, cell.scores["setting"][0])
    tests_EK = matrix_EK[task.split_E == "test"]
    said_EC = again.probabilities(tests_EK)
    np.testing.assert_array_equal(said_EC, cell.predictions["probability"].to_list())
    values_ECJ = np.concatenate([part for _, part in shap_values(again, tests_EK)])
    told_EC = values_ECJ.sum(axis=2)
    if how.trees == "probability":
        expected_EC = said_EC
    else:
        odds_EC = np.log(said_EC)
        expected_EC = odds_EC - odds_EC[:, ::-1] if classes == 2 else odds_EC - odds_EC.mean(axis=1, keepdims=True)
        told_EC = told_EC if classes == 2 else told_EC - told_EC.mean(axis=1, keepdims=True)
    np.testing.assert_allclose((expected_EC - told_EC).std(axis=0), 0, atol=1e-5)  # but for what they say on average


@pytest.mark.parametrize("probe", TREES)
def test_the_planted_column_tells_most(probe):
    task, hidden_ED = planted(2)
    how, place = probe_kind(probe), (kind("hidden"), hidden_ED, "mean", None)
    (cell,) = task.fit(*place, ["none"], how)
    again, _, matrix_EK = task.refit(*place, "none", how, cell.scores["setting"][0])
    tests_E = task.split_E == "test"
    told = most_telling(again, matrix_EK[tests_E], task.label_E[tests_E], again.columns_read(8))
    first = told.filter(rank_shap=1)
    assert first["latent"].unique().to_list() == [3] and first["class"].to_list() == ["a", "b"]
    assert (first["shap"] > 0).all() and (first["shap_others"] < 0).all()
    assert first["absolute_shap"][0] > 3 * (told.filter(pl.col("rank_shap") > 1)["absolute_shap"].max() or 0)


def expected(tree, node: int, row_J: np.ndarray, known: set[int]) -> np.ndarray:
    """What a tree says where only some columns of a row are known, the rest answered in the shares of training."""
    left, right, column = tree.children_left[node], tree.children_right[node], tree.feature[node]
    if left == right:
        return tree.value[node][0] / tree.value[node][0].sum()
    if column in known:
        return expected(tree, left if row_J[column] <= tree.threshold[node] else right, row_J, known)
    share = tree.weighted_n_node_samples[left] / tree.weighted_n_node_samples[node]
    return share * expected(tree, left, row_J, known) + (1 - share) * expected(tree, right, row_J, known)


def test_those_of_a_tree_are_shapleys_by_enumeration():
    label_E = np.random.default_rng(2).integers(3, size=200)
    rows_EJ = np.random.default_rng(3).integers(4, size=(200, 5)).astype(np.float32) + label_E[:, None] / 2
    probe = probe_kind("tree").fit(rows_EJ, label_E, NAMES[3], {"depth": 5, "leaf": 1}, None, 0)
    ((_, values_ECJ),) = shap_values(probe, rows_EJ[:4])
    weights = [factorial(size) * factorial(4 - size) / factorial(5) for size in range(5)]
    for row_J, found_CJ in zip(rows_EJ, values_ECJ, strict=False):
        for column in range(5):
            others = [{*known} for size in range(5) for known in combinations({*range(5)} - {column}, size)]
            says = [
                [expected(probe.model.tree_, 0, row_J, {*known, *more}) for more in ({column}, ())] for known in others
            ]
            total_C = sum(weights[len(known)] * (told - less) for known, (told, less) in zip(others, says, strict=True))
            np.testing.assert_allclose(found_CJ[:, column], total_C, atol=1e-9)


def test_means_are_over_the_examples_of_a_class_and_over_the_others(monkeypatch):
    monkeypatch.setattr("tessera.evidence.shapley.AT_ONCE", 100)  # several parts
    task, hidden_ED = planted(3)
    probe = probe_kind("boosting").fit(hidden_ED, task.label_E, NAMES[3], {"leaves": 4, "rounds": 25}, None, 0)
    label_E = np.where(task.label_E == 1, 2, task.label_E)  # no example of class b
    values_ECJ = np.concatenate([values for _, values in shap_values(probe, hidden_ED)])
    told = most_telling(probe, hidden_ED, label_E, np.arange(8) + 100)
    for row in told.iter_rows(named=True):
        number = NAMES[3].index(row["class"])
        values_E = values_ECJ[:, number, row["latent"] - 100]
        assert row["absolute_shap"] == pytest.approx(np.abs(values_E).mean())
        assert row["shap_others"] == pytest.approx(values_E[label_E != number].mean())
        assert row["shap"] == (None if number == 1 else pytest.approx(values_E[label_E == number].mean()))


def test_columns_are_listed_by_their_rank_over_all_classes_and_in_each_and_none_that_is_not_asked_for():
    task, hidden_ED = planted(3)
    many = np.hstack([hidden_ED, np.random.default_rng(4).standard_normal((180, 60))])
    for name, candidate in (("boosting", {"leaves": 8, "rounds": 100}), ("tree", {"depth": 3, "leaf": 1})):
        probe = probe_kind(name).fit(many.astype(np.float32), task.label_E, NAMES[3], candidate, None, 0)
        told = most_telling(probe, many.astype(np.float32), task.label_E, np.arange(68))
        whole = told.group_by("rank_shap", maintain_order=True).agg(pl.col("absolute_shap").sum())
        assert (whole["absolute_shap"] > 0).all()
        first = whole.filter(pl.col("rank_shap") <= LISTED)
        assert first["absolute_shap"].is_sorted(descending=True) and first["rank_shap"].to_list() == [
            *range(1, len(first) + 1)
        ]
        assert len(told.filter(pl.col("rank_shap") <= LISTED)) == 3 * len(first) <= 3 * LISTED
        rest = told.filter(pl.col("rank_shap") > LISTED)
        assert (rest["rank_shap_in_class"] <= LISTED).all() and (rest["absolute_shap"] > 0).all()
    assert len(first) < 8  # a tree of 7 questions at most


def write_latents(file, features_EW: sp.csr_array) -> str:
    """A file of pooled latents."""
    rows = [features_EW[[row]] for row in range(features_EW.shape[0])]
    schema = {"example": pl.UInt32, "latent": pl.List(pl.UInt32), "value": pl.List(pl.Float32)}
    columns = [range(len(rows)), [row.indices.tolist() for row in rows], [row.data.tolist() for row in rows]]
    write_parquet(file, pl.DataFrame(dict(zip(schema, columns, strict=True)), schema=schema))
    return str(file)


def test_the_best_cell_is_explained_by_the_numbers_of_its_own_latents(tmp_path):
    """Of two SAEs the wider one tells the classes, at latent 33; the other's rows are out of order."""
    task, hidden_ED = planted(2)
    write_parquet(tmp_path / "examples.parquet", task.examples)
    fired_EW = sp.csr_array(np.maximum(hidden_ED, 0))
    stored, scores = {}, []
    for width, first, rows in (
        (40, 30, fired_EW),
        (20, 10, fired_EW[np.random.default_rng(5).permutation(len(hidden_ED))]),
    ):
        silent = [sp.csr_array((len(hidden_ED), size), dtype=np.float32) for size in (first, width - first - 8)]
        wide = sp.csr_array(sp.hstack([silent[0], rows, silent[1]]))
        place = {"model": "m", "layer": "1", "width": str(width)}
        cell = {**place, "data": "d", "pooling": "sum", "threshold": "none", "selection": "none", "part": "scores"}
        file = tmp_path / paths.FEATURES.format(**cell)
        stored[paths.source("sae", place.values())] = [write_latents(file, wide)]
        for probe in TREES:
            (found,) = task.fit(kind("sae"), wide, "sum", "none", ["none"], probe_kind(probe))
            scores.append(str(tmp_path / kind("sae").path.format(**cell, probe=probe)))
            write_parquet(scores[-1], found.scores)
    told = explain_trees(str(tmp_path / "examples.parquet"), scores, stored, SETTINGS)
    assert told["probe"].unique(maintain_order=True).to_list() == TREES
    assert told["width"].unique().to_list() == ["40"] and told["layer"].unique().to_list() == [1]
    assert told.filter(rank_shap=1)["latent"].unique().to_list() == [33]
