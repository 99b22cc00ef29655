"""SHAP values of trees: of the very probe that was scored, adding up to what it says, and naming what was planted."""

import numpy as np
import polars as pl
import pytest
from places import SETTINGS, example_frame
from tessera.evidence.shapley import most_telling, shap_values
from tessera.features.registry import kind
from tessera.probes.registry import PROBES, probe_kind
from tessera.probes.task import Task

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
    assert first["absolute_shap"][0] > 3 * told.filter(pl.col("rank_shap") > 1)["absolute_shap"].max()
