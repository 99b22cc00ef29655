"""Scores and what each example adds to them: against scikit-learn, and against leaving examples out."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score
from tessera.probes.influence import macro_f1, roc_auc


def told(classes, size=400, seed=0):
    """Labels, and probabilities that say something about them; coarse, so that there are ties."""
    generator = np.random.default_rng(seed)
    label_E = generator.integers(classes, size=size)
    odds_EC = np.exp(np.eye(classes)[label_E] + generator.normal(size=(size, classes)).round(1))
    return label_E, odds_EC / odds_EC.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_scikit_learns(classes):
    label_E, probability_EC = told(classes)
    given = probability_EC[:, 1] if classes == 2 else probability_EC
    expected = roc_auc_score(label_E, given, multi_class="ovr") if classes > 2 else roc_auc_score(label_E, given)
    assert roc_auc(label_E, probability_EC)[0] == pytest.approx(expected)
    predicted_E = probability_EC.argmax(axis=1)
    assert macro_f1(label_E, predicted_E)[0] == pytest.approx(f1_score(label_E, predicted_E, average="macro"))


@pytest.mark.parametrize("classes", [2, 4])
def test_influences_are_what_leaving_an_example_out_changes(classes):
    """To first order: value − value without the example is its influence over n − 1 (jackknife)."""
    label_E, probability_EC = told(classes, 300)
    for score in (
        lambda rows: roc_auc(label_E[rows], probability_EC[rows]),
        lambda rows: macro_f1(label_E[rows], probability_EC[rows].argmax(axis=1)),
    ):
        everyone = np.arange(len(label_E))
        value, influence_E = score(everyone)
        left_out_E = np.array([score(np.delete(everyone, one))[0] for one in everyone])
        np.testing.assert_allclose(value - left_out_E, influence_E, atol=0.02 / len(everyone))
        assert influence_E.sum() == pytest.approx(0, abs=1e-9)


def test_the_variance_of_roc_auc_is_delongs():
    """DeLong, DeLong and Clarke-Pearson (1988), written out pair by pair."""
    label_E, probability_EC = told(2, 200)
    positive, negative = (probability_EC[label_E == one, 1] for one in (1, 0))
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    placements = wins.mean(axis=1), wins.mean(axis=0)
    expected = sum(values.var(ddof=1) / len(values) for values in placements)
    value, influence_E = roc_auc(label_E, probability_EC)
    assert value == pytest.approx(wins.mean())
    assert (influence_E**2).sum() == pytest.approx(expected)


def test_a_class_that_nothing_has_leaves_no_score():
    assert np.isnan(roc_auc(np.zeros(5, dtype=int), np.full((5, 2), 0.5))[0])
