"""Logistic regressions in a batch, against scikit-learn run until nothing moves, and the gradient written anew."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import LogisticRegression
from tessera.probes import batched
from tessera.probes.batched import Size, solve
from threadpoolctl import threadpool_limits

torch.set_num_threads(1)
PENALTIES = [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]


def problem(examples=200, columns=30, classes=2, density=None, strength=1.0, seed=0):
    """Features, CSR where a density is given, and class numbers, of which 0 is seven times in ten.

    A class's own column is larger by `strength` in most of its examples; two columns are equal, one is constant; the
    first five examples are there twice.
    """
    generator = np.random.default_rng(seed)
    shares = [0.7, *[0.3 / (classes - 1)] * (classes - 1)]
    label_E = np.append(np.arange(classes), generator.choice(classes, size=examples - classes, p=shares))
    if density is None:
        features_EK = generator.standard_normal((examples, columns))
    else:
        features_EK = generator.random((examples, columns)) * (generator.random((examples, columns)) < density)
    features_EK[np.arange(examples), label_E] += strength * (generator.random(examples) < 0.8)
    features_EK[:, -2], features_EK[:, -1] = features_EK[:, -3], 1
    features_EK[-5:], label_E[-5:] = features_EK[:5], label_E[:5]
    features_EK = features_EK.astype(np.float32)
    return (features_EK if density is None else sp.csr_array(features_EK)), label_E


PROBLEMS = {
    "dense, 2 classes": problem(),
    "dense, 5 classes": problem(classes=5),
    "sparse, 2 classes": problem(300, 120, 2, 0.05),
    "sparse, 5 classes": problem(300, 120, 5, 0.05),
    "dense, wide": problem(80, 600),
    "sparse, wide": problem(120, 800, 5, 0.04),
    "separable": problem(strength=20.0),
}


def solved(features_FEK, label_FE, classes, penalties=PENALTIES):
    """Weights [F, G, C, K + 1] and whether they converged [F, G], penalties in their order."""
    found = sorted(solve(features_FEK, label_FE, classes, penalties, "cpu"), key=lambda one: one[0])
    assert [penalty for penalty, _, _ in found] == list(range(len(penalties)))
    return tuple(np.stack(parts, axis=1) for parts in ([one[n] for one in found] for n in (1, 2)))


@pytest.fixture(params=["columns", "span"])
def form(request, monkeypatch):
    """Each test in both forms of the problem, whatever its sizes."""
    monkeypatch.setattr(Size, "in_span", lambda size, penalties: request.param == "span")


def reference(features_EK, label_E, C, tol=1e-12):
    """The weights [C, K + 1] of scikit-learn, intercepts last; it stops once the objective no longer falls."""
    model = LogisticRegression(C=C, class_weight="balanced", tol=tol, max_iter=100_000)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it cannot come nearer than double precision lets it
        model.fit(features_EK.astype(np.float64), label_E)
    return np.hstack([model.coef_, model.intercept_[:, None]])


def dense(features_EK):
    return features_EK.toarray() if sp.issparse(features_EK) else features_EK


def decisions(features_EK, weights_CK):
    return features_EK @ weights_CK[:, :-1].T + weights_CK[:, -1]


def apart(features_EK, found_CK, expected_CK):
    """The most that the difference in one coefficient moves any decision, in standard deviations of the decisions."""
    most_K = np.append(np.abs(dense(features_EK)).max(axis=0), 1)
    moved_C = (np.abs(found_CK - expected_CK) * most_K).max(axis=1)
    return (moved_C / decisions(features_EK, expected_CK).std(axis=0)).max()


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_coefficient_is_that_of_scikit_learn(form, name):
    features_EK, label_E = PROBLEMS[name]
    weights_FGCK, converged_FG = solved([features_EK], [label_E], label_E.max() + 1)
    assert converged_FG.all()
    for C, found_CK in zip(PENALTIES, weights_FGCK[0], strict=True):
        expected_CK = reference(features_EK, label_E, C)
        assert found_CK.shape == expected_CK.shape
        assert apart(features_EK, found_CK, expected_CK) < 2e-4
        if C <= 1:  # beyond, scikit-learn at the tolerance of probes is up to 1e-2 from its own optimum
            assert apart(features_EK, found_CK, reference(features_EK, label_E, C, tol=1e-6)) < 1e-3


@pytest.mark.parametrize("name", PROBLEMS)
def test_nothing_is_left_of_the_gradient(form, name):
    features_EK, label_E = PROBLEMS[name]
    classes, examples = label_E.max() + 1, len(label_E)
    dense_EK = dense(features_EK).astype(np.float64)
    weights_FGCK, _ = solved([features_EK], [label_E], classes)
    for C, weights_CK in zip(PENALTIES, weights_FGCK[0], strict=True):
        decision_EC = decisions(dense_EK, weights_CK)
        odds_EC = np.exp(np.hstack([np.zeros((examples, 1)), decision_EC]) if classes == 2 else decision_EC)
        error_EC = odds_EC / odds_EC.sum(axis=1, keepdims=True) - np.eye(classes)[label_E]
        weight_E = examples / (classes * np.bincount(label_E))[label_E]
        error_EC = (weight_E[:, None] * error_EC)[:, -len(weights_CK) :] / weight_E.sum()
        gradient_CK = error_EC.T @ dense_EK + weights_CK[:, :-1] / (C * weight_E.sum())
        assert np.abs(gradient_CK).max() < 3e-8  # in another basis another entry is the largest
        assert np.abs(error_EC.sum(axis=0)).max() < 3e-8


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("density", [None, 0.1])
def test_a_batch_is_what_its_folds_and_penalties_are_alone(form, classes, density):
    folds = [problem(size, columns, classes, density, seed=size) for size, columns in ((90, 40), (97, 37), (93, 41))]
    features_FEK, label_FE = zip(*folds, strict=True)
    weights_FGCK, converged_FG = solved(list(features_FEK), list(label_FE), classes)
    assert converged_FG.shape == (3, len(PENALTIES)) and converged_FG.all()
    for fold, (features_EK, label_E) in enumerate(folds):
        columns = features_EK.shape[1]
        assert not weights_FGCK[fold, :, :, columns:-1].any()
        for C, found_CK in zip(PENALTIES[::2], weights_FGCK[fold, ::2], strict=True):
            alone_CK = solved([features_EK], [label_E], classes, [C])[0][0, 0]
            np.testing.assert_allclose(found_CK[:, :columns], alone_CK[:, :-1], atol=1e-4)
            np.testing.assert_allclose(found_CK[:, -1], alone_CK[:, -1], atol=1e-4)


def test_two_runs_are_equal_to_the_last_bit(form):
    features_EK, label_E = PROBLEMS["sparse, 5 classes"]
    first, second = (solved([features_EK], [label_E], 5)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_has_not_converged_says_so(form, monkeypatch):
    monkeypatch.setattr(batched, "ITERATIONS", 20)
    features_EK, label_E = PROBLEMS["sparse, 2 classes"]
    weights_FGCK, converged_FG = solved([features_EK], [label_E], 2)
    assert converged_FG[0].tolist() == [True, True, True, False, False, False]
    assert weights_FGCK.any(axis=(2, 3)).all()
