"""Kinds of probes beside logistic regression: what each must find, recomputed by other code, and what none may."""

import numpy as np
import polars as pl
import pytest
import yaml
from probes.asis import task_of
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestCentroid
from tessera.features.registry import KINDS, kind
from tessera.probes.registry import PROBES, probe_kind
from tessera.probes.task import Cell, Task
from tessera.study.config import SCHEMA

DENSE = [name for name, one in PROBES.items() if "hidden" in one.kinds]


def fitted(task: Task, hidden_ED: np.ndarray, probe: str) -> Cell:
    """The cell of hidden states."""
    (cell,) = task.fit(kind("hidden"), hidden_ED.astype(np.float32), "mean", None, ["none"], probe_kind(probe))
    return cell


def along_a_direction(
    classes: int = 2, size: int = 40, dims: int = 200, tests: int = 600, apart: float = 3.0, seed: int = 0
):
    """Few examples of many dimensions, all of one variance, whose classes differ along directions."""
    rng = np.random.default_rng(seed)
    label_E = rng.permutation(np.arange(size + tests) % classes)
    mean_CD = rng.normal(size=(classes, dims))
    mean_CD *= apart / np.linalg.norm(mean_CD, axis=1, keepdims=True) / 2**0.5
    return label_E, mean_CD[label_E] + rng.normal(size=(size + tests, dims)), mean_CD


def test_every_kind_of_probe_can_be_asked_for_in_a_config():
    asked = yaml.safe_load(SCHEMA.read_text())["properties"]["probes"]["properties"]
    assert {name: tuple(one["items"]["enum"]) for name, one in asked.items()} == {
        name: one.kinds for name, one in PROBES.items() if one.kinds
    }
    assert all({*one.kinds} <= {*KINDS} for one in PROBES.values())
    assert all(one.probe in PROBES for one in KINDS.values())


@pytest.mark.parametrize("classes", [2, 3])
def test_difference_of_means_is_the_nearest_mean_of_raw_states(classes):
    label_E, hidden_ED, _ = along_a_direction(classes, size=90, dims=20)
    hidden_ED = hidden_ED * np.linspace(0.1, 5, 20) + 3  # dimensions of unlike scales: not standardised
    task = task_of(label_E, 600)
    cell = fitted(task, hidden_ED, "difference")
    train_E = task.train_E
    said = NearestCentroid().fit(hidden_ED[train_E], label_E[train_E]).predict(hidden_ED[~train_E])
    assert cell.predictions["predicted"].to_list() == [f"class {label}" for label in said]
    assert cell.scores["C"][0] is None and cell.scores["C_at_edge"].to_list() == [False]


def test_difference_of_means_of_two_classes_is_their_direction():
    label_E, hidden_ED, _ = along_a_direction(size=100, dims=5)
    task = task_of(label_E, 600)
    weights = fitted(task, hidden_ED, "difference").coefficients.filter(pl.col("latent").is_not_null())["weight"]
    train_ED, inside_E = hidden_ED.astype(np.float32)[task.train_E], label_E[task.train_E]
    means = [train_ED[inside_E == label].mean(axis=0) for label in (0, 1)]
    along = means[1] - means[0]
    np.testing.assert_allclose(weights / np.linalg.norm(weights), along / np.linalg.norm(along), atol=1e-5)
    projected_E = train_ED @ along / np.linalg.norm(along)
    within = np.mean([projected_E[inside_E == label].var() for label in (0, 1)])
    assert np.linalg.norm(weights) == pytest.approx(np.linalg.norm(along) / within, rel=1e-4)  # log odds


def test_lda_is_the_gaussian_with_ledoit_and_wolfs_covariance():
    from sklearn.covariance import ledoit_wolf

    label_E, hidden_ED, _ = along_a_direction(size=120, dims=30)
    task = task_of(label_E, 600)
    cell = fitted(task, hidden_ED, "lda")
    train_ED, inside_E = hidden_ED.astype(np.float32)[task.train_E], label_E[task.train_E]
    scaled = [(part - train_ED.mean(axis=0)) / train_ED.std(axis=0) for part in (train_ED, hidden_ED)]
    means = np.array([scaled[0][inside_E == label].mean(axis=0) for label in (0, 1)])
    covariance = np.zeros((30, 30))
    for label in (0, 1):
        rows = scaled[0][inside_E == label]
        spread = rows.std(axis=0)
        covariance += ledoit_wolf(rows / spread)[0] * np.outer(spread, spread) / 2
    weights = np.linalg.solve(covariance, means[1] - means[0])
    said_E = (scaled[1] - means.mean(axis=0)) @ weights > 0
    expected = f1_score(label_E[~task.train_E], said_E[~task.train_E], average="macro")
    assert cell.scores["macro_f1"][0] == pytest.approx(expected, abs=0.004)


def test_difference_of_means_wins_where_the_class_is_a_direction_and_examples_are_few():
    wins = []
    for seed in range(8):
        label_E, hidden_ED, _ = along_a_direction(size=20, dims=30, apart=2.5, seed=seed)
        task = task_of(label_E, 600)
        found = {name: fitted(task, hidden_ED, name).scores["macro_f1"][0] for name in ("difference", "logistic")}
        wins.append(found["difference"] - found["logistic"])
    assert np.mean(wins) > 0.005


@pytest.mark.parametrize("probe", DENSE)
def test_noise_is_told_by_none(probe):
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        label_E = rng.permutation(np.arange(400) % 2)
        found.append(fitted(task_of(label_E, 200), rng.normal(size=(400, 30)), probe).scores["macro_f1"][0])
    assert abs(np.mean(found) - 0.5) < 0.05


@pytest.mark.parametrize("probe", DENSE)
def test_classes_of_equal_rows_are_no_error(probe):
    label_E = np.arange(100) % 2
    cell = fitted(task_of(label_E, 50), np.ones((100, 3)), probe)
    assert np.isfinite(cell.scores["macro_f1"][0])
