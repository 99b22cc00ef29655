"""Probes on a GPU, a CPU in its place: chosen and fitted as on a CPU, in as many batches as memory makes of them."""

import numpy as np
import pytest
import torch
from probes.asis import as_folds
from probes.test_batched import apart, problem
from tessera.base.errors import TesseraError
from tessera.probes import batched, gpu
from tessera.probes.batched import Size
from tessera.probes.fit import fit_probe
from tessera.probes.registry import PROBES, probe_kind
from tessera.probes.selection import select

PENALTIES = [1e-3, 1e-2, 0.1, 1.0]
PLENTY = 2**40


@pytest.fixture
def in_its_place(monkeypatch):
    """Logistic regression on a stand-in of so many bytes, and a list for its batches, folds × penalties."""

    def stand_in(free=PLENTY, large=0):
        batches = []

        def solve(features_FEK, label_FE, classes, penalties, device):
            batches.append((len(features_FEK), len(penalties)))
            return solve_batch(features_FEK, label_FE, classes, penalties, device)

        monkeypatch.setattr(gpu, "pick_device", lambda: "cpu")
        monkeypatch.setattr(gpu, "free_bytes", lambda: free)
        monkeypatch.setattr(gpu, "LARGE", large)
        monkeypatch.setattr(batched, "solve", solve)
        return probe_kind("logistic").on("cuda"), batches

    solve_batch = batched.solve
    return stand_in


def fitted(how, classes, density, selection="none"):
    features_EK, label_E = problem(240, 60, classes, density, strength=0.7)
    folds = as_folds(features_EK, label_E, np.arange(240) % 5)
    selected = select(features_EK, folds, label_E, [selection])[selection]
    return features_EK, fit_probe(features_EK, label_E, folds, list("abcde"[:classes]), PENALTIES, selected, how)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("density", [None, 0.1])
@pytest.mark.parametrize("selection", ["none", "anova-20"])
def test_the_probe_is_that_of_a_cpu(in_its_place, classes, density, selection):
    how, batches = in_its_place()
    features_EK, expected = fitted(PROBES["logistic"], classes, density, selection)
    _, found = fitted(how, classes, density, selection)
    assert batches == [(5, 4), (1, 1)]
    assert (found.C, found.cv_macro_f1, found.converged) == (expected.C, expected.cv_macro_f1, True)
    assert found.C_at_edge == expected.C_at_edge
    np.testing.assert_array_equal(found.columns_K, expected.columns_K)
    chosen_EK = features_EK if found.columns_K is None else features_EK[:, found.columns_K]
    weights = [np.hstack([probe.weights_CK, probe.intercept_C[:, None]]) for probe in (found, expected)]
    assert apart(chosen_EK, *weights) < 1e-3
    told, expected_EC = (probe.probabilities(features_EK) for probe in (found, expected))
    np.testing.assert_array_equal(told.argmax(axis=1), expected_EC.argmax(axis=1))


def test_small_fits_are_those_of_a_cpu_to_the_last_bit(in_its_place):
    how, batches = in_its_place(large=240 * 60 * 5)
    (_, expected), (_, found) = fitted(PROBES["logistic"], 2, None), fitted(how, 2, None)
    assert batches == []
    np.testing.assert_array_equal(found.weights_CK, expected.weights_CK)


def test_batches_are_what_memory_holds(in_its_place):
    size = Size.of(problem(192, 60, 5, 0.1)[0], 5)
    _, expected = fitted(in_its_place()[0], 5, 0.1)
    for free, made in (
        (2.5 * size.bytes(4), [(2, 4), (2, 4), (1, 4), (1, 1)]),
        (1.1 * size.bytes(2), [(1, 2), (1, 2)] * 5 + [(1, 1)]),
        (1.5 * size.bytes(1), [(1, 1)] * (5 * 4 + 1)),
    ):
        how, batches = in_its_place(free=int(free))
        _, found = fitted(how, 5, 0.1)
        assert batches == made
        assert (found.C, found.cv_macro_f1) == (expected.C, expected.cv_macro_f1)
        np.testing.assert_allclose(found.weights_CK, expected.weights_CK, atol=1e-4)


def test_a_gpu_that_holds_no_fit_is_refused_in_one_line(in_its_place):
    how, _ = in_its_place(free=2**16)
    with pytest.raises(TesseraError, match=r"^config key probe.device: cuda, .* 192 × 60 .* GiB .*; use cpu$"):
        fitted(how, 5, None)


def test_without_a_gpu_cuda_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        TesseraError, match=r"^config key probe.device: cuda, but torch sees no GPU here; allowed: cpu$"
    ):
        probe_kind("logistic").on("cuda")


@pytest.mark.parametrize("name", PROBES)
def test_a_kind_is_itself_where_nobody_asks_for_a_gpu(name):
    assert probe_kind(name).on("cpu") is PROBES[name]
    assert probe_kind(name).on_gpu or probe_kind(name).on("cuda") is PROBES[name]
