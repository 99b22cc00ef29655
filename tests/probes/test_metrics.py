"""Metrics and their bootstrap against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from tessera.probes.metrics import METRICS, calibration, confusion_scores, rank_scores, resample_weights, score

FEW = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def sample(seed, classes, size=40):
    """Labels with every class, probabilities with many ties, and positive whole and fractional weights."""
    generator = np.random.default_rng(seed)
    label_E = np.append(np.arange(classes), generator.integers(classes, size=size - classes))
    raw_EC = generator.integers(1, 5, size=(size, classes)).astype(float)
    weights_BE = np.vstack([np.ones(size), generator.integers(1, 4, size), generator.uniform(0.1, 3, size)])
    return label_E, raw_EC / raw_EC.sum(axis=1, keepdims=True), weights_BE.astype(np.float32)


def groups(size, seed=0):
    return np.random.default_rng(seed).integers(size // 2, size=size)


@FEW
@given(seed=seeds, classes=st.integers(2, 5))
def test_confusion_scores_equal_sklearn(seed, classes):
    label_E, probability_EC, weights_BE = sample(seed, classes)
    predicted_E = probability_EC.argmax(axis=1)
    f1_B, accuracy_B = confusion_scores(label_E, predicted_E, classes, weights_BE)
    for f1, accuracy, weight_E in zip(f1_B, accuracy_B, weights_BE, strict=True):
        expected = f1_score(label_E, predicted_E, average="macro", sample_weight=weight_E, zero_division=0)
        assert f1 == pytest.approx(expected, rel=1e-5)
        assert accuracy == pytest.approx(accuracy_score(label_E, predicted_E, sample_weight=weight_E), rel=1e-5)


@FEW
@given(seed=seeds)
def test_rank_scores_equal_sklearn(seed):
    label_E, probability_EC, weights_BE = sample(seed, 2)
    auc_B, precision_B = rank_scores(label_E == 1, probability_EC[:, 1], weights_BE)
    for auc, precision, weight_E in zip(auc_B, precision_B, weights_BE, strict=True):
        score_E = probability_EC[:, 1]
        assert auc == pytest.approx(roc_auc_score(label_E, score_E, sample_weight=weight_E), abs=1e-6)
        expected = average_precision_score(label_E, score_E, sample_weight=weight_E)
        assert precision == pytest.approx(expected, abs=1e-6)


@FEW
@given(seed=seeds)
def test_rank_scores_leave_out_examples_without_weight(seed):
    label_E, probability_EC, _ = sample(seed, 2)
    weight_E = np.random.default_rng(seed).integers(0, 3, len(label_E)).astype(np.float32)
    weight_E[:2] = 1
    (auc,), (precision,) = rank_scores(label_E == 1, probability_EC[:, 1], weight_E[None])
    rows = np.repeat(np.arange(len(label_E)), weight_E.astype(int))
    assert auc == pytest.approx(roc_auc_score(label_E[rows], probability_EC[rows, 1]))
    assert precision == pytest.approx(average_precision_score(label_E[rows], probability_EC[rows, 1]))


@FEW
@given(seed=seeds, classes=st.integers(2, 4))
def test_score_equals_sklearn(seed, classes):
    label_E, probability_EC, weights_BE = sample(seed, classes)
    found = score(label_E, probability_EC, weights_BE)
    predicted_E = probability_EC.argmax(axis=1)
    chosen = [1] if classes == 2 else range(classes)
    expected = {
        "macro_f1": f1_score(label_E, predicted_E, average="macro"),
        "accuracy": accuracy_score(label_E, predicted_E),
        "roc_auc": np.mean([roc_auc_score(label_E == c, probability_EC[:, c]) for c in chosen]),
        "average_precision": np.mean([average_precision_score(label_E == c, probability_EC[:, c]) for c in chosen]),
    }
    assert {name: found[name] for name in METRICS} == pytest.approx(expected)


def test_multi_class_auc_is_sklearns_one_versus_rest():
    label_E, probability_EC, weights_BE = sample(3, 4)
    expected = roc_auc_score(label_E, probability_EC, multi_class="ovr", average="macro")
    assert score(label_E, probability_EC, weights_BE)["roc_auc"] == pytest.approx(expected)


def test_resample_weights():
    group_E = groups(60)
    weights_BE = resample_weights(group_E, 200, seed=1)
    assert weights_BE.shape == (201, 60)
    assert (weights_BE[0] == 1).all()
    _, first = np.unique(group_E, return_index=True)
    assert (weights_BE[1:, first].sum(axis=1) == len(first)).all()
    for group in np.unique(group_E):
        columns = weights_BE[:, group_E == group]
        assert (columns == columns[:, :1]).all()
    assert weights_BE[1:, first].mean() == 1
    assert weights_BE[1:, first].var() == pytest.approx(1, abs=0.1)


def test_resample_weights_are_seeded():
    group_E = groups(30)
    assert (resample_weights(group_E, 20, seed=1) == resample_weights(group_E, 20, seed=1)).all()
    assert (resample_weights(group_E, 20, seed=1) != resample_weights(group_E, 20, seed=2)).any()


def test_resample_weights_ignore_the_names_of_groups():
    group_E = groups(30)
    assert (resample_weights(group_E, 20, seed=1) == resample_weights(group_E * 7 + 1000, 20, seed=1)).all()


def noisy(size, seed=0):
    generator = np.random.default_rng(seed)
    label_E = np.arange(size) % 2
    positive_E = 1 / (1 + np.exp(-(2 * label_E - 1 + generator.normal(scale=1.5, size=size))))
    return label_E, np.column_stack([1 - positive_E, positive_E])


def intervals(size):
    label_E, probability_EC = noisy(size)
    return score(label_E, probability_EC, resample_weights(np.arange(size), 300, seed=0))


def test_intervals_contain_the_value_and_shrink_with_the_sample():
    small, large = intervals(60), intervals(1500)
    for metric in METRICS:
        for found in (small, large):
            assert found[f"{metric}_low"] <= found[metric] <= found[f"{metric}_high"]
        width = [found[f"{metric}_high"] - found[f"{metric}_low"] for found in (small, large)]
        assert 0 < width[1] < width[0] / 2


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_that_is_absent_from_a_resample_gives_no_nan(classes):
    label_E = np.zeros(20, dtype=int)
    label_E[: classes - 1] = np.arange(1, classes)
    generator = np.random.default_rng(0)
    probability_EC = generator.dirichlet(np.ones(classes), size=20)
    weights_BE = resample_weights(np.arange(20), 100, seed=0)
    assert (weights_BE[:, 0] == 0).any()
    found = score(label_E, probability_EC, weights_BE)
    assert np.isfinite(list(found.values())).all()


def test_a_class_without_examples_or_predictions_does_not_count():
    label_E, predicted_E = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    f1_B, _ = confusion_scores(label_E, predicted_E, 3, np.ones((1, 4), dtype=np.float32))
    assert f1_B[0] == pytest.approx(f1_score(label_E, predicted_E, average="macro"))


def test_perfect_and_inverted_ranking():
    label_E = np.array([0, 0, 1, 1])
    weights_BE = resample_weights(np.arange(4), 10, seed=0)
    perfect = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert [score(label_E, perfect, weights_BE)[metric] for metric in METRICS] == [1, 1, 1, 1]
    assert score(label_E, perfect[:, ::-1], weights_BE)["roc_auc"] == 0
    assert score(label_E, np.full((4, 2), 0.5), weights_BE)["roc_auc"] == 0.5


def test_one_prediction_of_an_absent_class_is_one_error():
    """It must not add a class with F1 = 0 to the mean."""
    label = np.repeat([0, 1], 20)
    predicted = label.copy()
    predicted[0] = 2
    weights = resample_weights(np.arange(40), 200, seed=0)
    f1, accuracy = confusion_scores(label, predicted, 3, weights)
    assert accuracy[0] == 39 / 40
    assert f1[0] == pytest.approx(f1_score(label, predicted, labels=[0, 1], average="macro"))
    assert f1.min() > 0.85


def told(confidence_E, seed=0):
    """Two classes of which the one that is said is right as often as its probability says."""
    generator = np.random.default_rng(seed)
    said_E = generator.integers(2, size=len(confidence_E))
    label_E = np.where(generator.random(len(confidence_E)) < confidence_E, said_E, 1 - said_E)
    probability_EC = np.full((len(confidence_E), 2), 0.0)
    probability_EC[np.arange(len(confidence_E)), said_E] = confidence_E
    probability_EC[np.arange(len(confidence_E)), 1 - said_E] = 1 - confidence_E
    return label_E, probability_EC


def test_calibration_is_the_definition():
    """Ten bins of as many examples each, bin by bin."""
    confidence_E = np.random.default_rng(1).uniform(0.5, 1, size=1000)
    label_E, probability_EC = told(confidence_E**2 * 0.5 + 0.5)
    found = calibration(label_E, probability_EC, resample_weights(np.arange(1000), 200, 0))
    said_E, right_E = probability_EC.max(axis=1), probability_EC.argmax(axis=1) == label_E
    gaps = [right_E[bin_].mean() - said_E[bin_].mean() for bin_ in np.array_split(np.argsort(said_E), 10)]
    assert found["ece"] == pytest.approx(np.mean(np.abs(gaps)), abs=1e-3)
    assert found["reliability"] == pytest.approx(np.mean(np.square(gaps)), abs=1e-4)
    assert found["ece_low"] <= found["ece"] <= found["ece_high"]


def test_overconfidence_is_told_from_noise():
    confidence_E = np.random.default_rng(2).uniform(0.55, 0.95, size=2000)
    weights_BE = resample_weights(np.arange(2000), 200, 0)
    label_E, probability_EC = told(confidence_E)
    assert calibration(label_E, probability_EC, weights_BE)["ece_low"] < 0.01
    over_EC = np.where(probability_EC > 0.5, 1 - (1 - probability_EC) / 4, probability_EC / 4)
    wrong = calibration(label_E, over_EC, weights_BE)
    expected = np.mean(1 - (1 - confidence_E) / 4 - confidence_E)
    assert wrong["ece"] == pytest.approx(expected, abs=0.03) and wrong["ece_low"] > 0.1


def test_few_examples_have_few_bins():
    label_E, probability_EC = told(np.linspace(0.5, 0.9, 30))
    found = calibration(label_E, probability_EC, resample_weights(np.arange(30), 50, 0))
    right = (probability_EC.argmax(axis=1) == label_E).mean()
    assert found["ece"] == pytest.approx(abs(right - probability_EC.max(axis=1).mean()))
