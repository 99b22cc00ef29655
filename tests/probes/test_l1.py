"""L1 logistic regression: the optimum that it claims, few columns of many, and the probes of sae-probes."""

import ast
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from probes.asis import as_folds, task_of
from sklearn.metrics import roc_auc_score
from tessera.features.registry import kind
from tessera.features.spaces import Thresholding
from tessera.probes.registry import PROBES
from tessera.probes.selection import select

L1, LOGISTIC = PROBES["l1"], PROBES["logistic"]


def activations(size=400, width=300, tell=6, seed=0):
    """Labels, and sparse positive values [E, W] of scales that differ; the first `tell` columns fire for a class."""
    rng = np.random.default_rng(seed)
    label_E = rng.permutation(np.arange(size) % 2)
    often_EW = np.full((size, width), 0.3)
    often_EW[:, :tell] += np.where(label_E[:, None] == np.arange(tell) % 2, 0.15, -0.15)
    values_EW = rng.gamma(2, 1, (size, width)) * (rng.random((size, width)) < often_EW)
    return label_E, (values_EW * rng.lognormal(1, 1, width)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("C", [0.05, 1.0, 50.0])
def test_no_weight_can_be_changed_for_the_better(classes, C):
    """The conditions of Karush, Kuhn and Tucker: the slope of the loss is 1 at a weight, and at most 1 beside it."""
    rng = np.random.default_rng(1)
    label_E = np.repeat(np.arange(classes), [150, 40, 60][:classes])  # classes of unlike sizes weigh alike
    features_EK = rng.normal(size=(len(label_E), 20)) + (np.arange(20) == label_E[:, None])
    names = [str(name) for name in range(classes)]
    probe = L1.fit(sp.csr_array(features_EK), label_E, names, C, None, seed=0)
    assert probe.converged and probe.C == C
    rows = zip(probe.weights_CK, probe.intercept_C, [1] if classes == 2 else range(classes), strict=True)
    for weights_K, intercept, name in rows:
        is_E = label_E == name
        weight_E = np.where(is_E, len(is_E) / 2 / is_E.sum(), len(is_E) / 2 / (~is_E).sum())
        off_E = weight_E * (1 / (1 + np.exp(-(features_EK @ weights_K + intercept))) - is_E)
        slope_K, used_K = C * features_EK.T @ off_E, weights_K != 0
        np.testing.assert_allclose(slope_K[used_K], -np.sign(weights_K[used_K]), atol=2e-3)
        assert np.abs(slope_K[~used_K]).max(initial=0) < 1 + 2e-3
        assert abs(C * off_E.sum()) < 0.02  # the intercept has next to no penalty


def test_few_columns_of_many_are_told_better_than_by_l2():
    gains = []
    for seed in range(3):
        label_E, values_EW = activations(seed=seed)
        task = task_of(label_E, 200)
        args = (kind("sae"), sp.csr_array(values_EW), "max", "none", ["none"])
        cells = [next(task.fit(*args, how)) for how in (L1, LOGISTIC)]
        gains.append(cells[0].scores["macro_f1"][0] - cells[1].scores["macro_f1"][0])
        used = [cell.coefficients.drop_nulls("latent").filter(pl.col("weight") != 0)["latent"] for cell in cells]
        assert len(used[0]) < len(used[1]) / 3 and len({*range(6)} & {*used[0]}) >= 5
    assert np.mean(gains) > 0.03


def test_noise_is_no_more_than_chance():
    found = []
    for seed in range(6):
        label_E, values_EW = activations(tell=0, seed=seed)
        (cell,) = task_of(label_E, 200).fit(kind("sae"), sp.csr_array(values_EW), "max", "none", ["difference-16"], L1)
        found.append(cell.scores["macro_f1"][0])
    assert abs(np.mean(found) - 0.5) < 0.05


def package(file: str) -> Path:
    """A file of the package sae-probes, whose own code is what ours is held against."""
    return next(Path(one.locate()) for one in files("sae-probes") if one.name == file)


@pytest.fixture
def find_best_reg(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", ModuleType("xgboost"))  # of another of its probes
    spec = importlib.util.spec_from_file_location("utils_training", package("utils_training.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.find_best_reg


def functions(file: str) -> dict[str, Callable]:
    """The functions of a file of the package: whoever imports it reads all data sets."""
    body = [node for node in ast.parse(package(file).read_text()).body if isinstance(node, ast.FunctionDef)]
    wanted = [node for node in body if node.name in ("get_sorted_indices", "mean_act_normalization")]
    space = {"torch": torch, "Callable": Callable}
    exec(compile(ast.Module(wanted, []), file, "exec"), space)
    return space


@pytest.mark.parametrize("threshold", ["none", "1.0"])
@pytest.mark.parametrize(("method", "normalised"), [("difference", False), ("relative", True)])
def test_the_top_latents_are_those_of_sae_probes(threshold, method, normalised):
    label_E, values_EW = activations()
    theirs = functions("run_sae_evals.py")
    own_EW = torch.tensor(values_EW if threshold == "none" else (values_EW > 1).astype(np.float32))
    normalise = theirs["mean_act_normalization"] if normalised else None
    order = theirs["get_sorted_indices"](own_EW, torch.tensor(label_E), normalise).numpy()
    told_EW = (normalise(own_EW) if normalised else own_EW).numpy()
    score_W = np.abs(told_EW[label_E == 1].mean(axis=0) - told_EW[label_E == 0].mean(axis=0))
    space = Thresholding.fit(sp.csr_array(values_EW), threshold)
    matrix_EK = space.apply(sp.csr_array(values_EW))
    names = [f"{method}-{k}" for k in (1, 2, 4, 8, 16, 32, 64, 128)]
    chosen = select(matrix_EK, as_folds(matrix_EK, label_E, np.arange(400) % 5), label_E, names, space.scale_K)
    for name in names:
        ours = space.columns_K[chosen[name].whole]
        np.testing.assert_allclose(np.sort(score_W[ours]), np.sort(score_W[order[: len(ours)]]), rtol=1e-4)
        if threshold == "none":  # of zeros and ones some differ by as much
            assert {*ours} == {*order[: len(ours)].tolist()}


@pytest.mark.filterwarnings("ignore")  # its spelling of the penalty is old
@pytest.mark.parametrize("binarised", [False, True])
def test_at_one_penalty_the_probe_is_that_of_sae_probes(find_best_reg, binarised):
    label_E, values_EW = activations(tell=4)
    values_EW = (values_EW > 1 if binarised else values_EW / values_EW.max(axis=0))[:, :12].astype(np.float64)
    train_E = np.arange(len(label_E)) < 200
    halves = values_EW[train_E], label_E[train_E], values_EW[~train_E], label_E[~train_E]
    theirs = find_best_reg(*halves, penalty="l1")
    ours = L1.fit(halves[0], halves[1], ["0", "1"], theirs.classifier.C, None, seed=0)
    assert theirs.classifier.n_iter_[0] < 1000  # it had come to an end
    auc = roc_auc_score(halves[3], ours.decisions(halves[2])[:, 0])
    assert auc == pytest.approx(theirs.metrics.test_auc, abs=0.002) and auc > 0.6
