"""Each kind of direction against its definition in other code; controls, which know nothing of the labels."""

from copy import copy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from refusals import fails
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sources import DEAD, SETTINGS, SIZE, WIDTH, source
from tessera.probes.fitted import LinearProbe
from tessera.steering.directions import OF_LABELS, Source, directions, tells
from tessera.steering.measures import TITLES
from threadpoolctl import threadpool_limits

DRAWS = 4
PLANTED = "latent-6"  # of class 1
NAMES = [*TITLES, PLANTED]


@pytest.fixture(scope="module")
def binary() -> Source:
    return source()


@pytest.fixture(scope="module")
def ternary() -> Source:
    return source(classes=3, number=2)


@pytest.fixture(params=["binary", "ternary"])
def made(request) -> Source:
    return request.getfixturevalue(request.param)


def unit(vector_D: np.ndarray) -> np.ndarray:
    return vector_D / np.sqrt((vector_D**2).sum())


def training(made: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled latents, states and labels of the training split, dense."""
    rows = made.task.examples["split"].to_numpy() == "train"
    labels = made.task.examples["label"].to_numpy()[rows] == made.task.classes[made.number]
    return made.features_EW.toarray()[rows].astype(np.float64), made.hidden_ED[rows].astype(np.float64), labels


def first(name: str, made: Source) -> tuple[np.ndarray, dict]:
    row = directions(name, made, 2).row(0, named=True)
    assert (row["draw"], row["controls"]) == (0, False)
    return np.array(row["vector"]), row


def test_probe_is_what_the_latents_that_speak_for_the_class_add_to_telling_it(made):
    acts_EW, _, is_E = training(made)
    weight_C = made.decision.probe.weights_CK
    weight_K = weight_C[0] if len(made.task.classes) == 2 else weight_C[made.number]
    latents_K = made.decision.latents_K
    scaled_EK = acts_EW[:, latents_K] / acts_EW[:, latents_K].max(axis=0)
    added = [
        (weight * (column[is_E].mean() - column[~is_E].mean()), int(latent))
        for latent, weight, column in zip(latents_K, weight_K, scaled_EK.T, strict=True)
        if weight > 0
    ]
    top = sorted(added, reverse=True)[: made.k]
    vector, row = first("probe", made)
    assert row["latents"] == [latent for _, latent in top]
    np.testing.assert_allclose(row["weights"], [gap for gap, _ in top], rtol=1e-4)
    np.testing.assert_allclose(vector, unit(sum(gap * made.W_WD[latent] for gap, latent in top)), atol=1e-5)
    assert row["latents"][0] == 5 + made.number


def test_correlation_is_the_correlated_latents_at_their_mean_activation_in_the_class(made):
    acts_EW, _, is_E = training(made)
    correlation = [np.corrcoef(column, is_E)[0, 1] if column.any() else 0.0 for column in acts_EW.T]
    top = np.argsort(correlation)[::-1][: made.k]
    vector, row = first("correlation", made)
    assert row["latents"] == top.tolist() and row["latents"][0] == 5 + made.number
    np.testing.assert_allclose(row["weights"], acts_EW[is_E][:, top].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(vector, unit(acts_EW[is_E][:, top].mean(axis=0) @ made.W_WD[top]), atol=1e-5)


def test_difference_is_that_of_means(made):
    _, states_ED, is_E = training(made)
    vector, row = first("difference", made)
    np.testing.assert_allclose(vector, unit(states_ED[is_E].mean(axis=0) - states_ED[~is_E].mean(axis=0)), atol=1e-5)
    assert row["latents"] is row["weights"] is None
    planted = made.W_WD[5 : 5 + len(made.task.classes)]
    assert vector @ unit(planted[made.number] - np.delete(planted, made.number, axis=0).mean(axis=0)) > 0.8


def test_hidden_is_the_weights_of_a_probe_of_the_states_in_their_own_units(made):
    _, states_ED, _ = training(made)
    scale_D = states_ED.std(axis=0)
    labels = made.task.label_E[made.task.train_E]
    probe = LogisticRegression(C=made.states_probe[0].C, class_weight="balanced", tol=1e-8, max_iter=10000)
    probe.fit((states_ED - states_ED.mean(axis=0)) / scale_D, labels)
    weight_D = probe.coef_[0] if len(made.task.classes) == 2 else probe.coef_[made.number]
    vector, _ = first("hidden", made)
    np.testing.assert_allclose(vector, unit(weight_D / scale_D), atol=2e-3)
    assert made.states_probe[0].C in SETTINGS["C"]


def test_toward_the_first_of_two_classes_is_away_from_the_second():
    one, other = source(number=0), source(number=1)
    for name in ("difference", "hidden"):
        np.testing.assert_allclose(first(name, one)[0], -first(name, other)[0], atol=1e-6)
    assert (first("probe", one)[1]["latents"][0], first("correlation", one)[1]["latents"][0]) == (5, 5)


def test_one_latent_is_what_it_writes(binary):
    vector, row = first(PLANTED, binary)
    np.testing.assert_allclose(vector, unit(binary.W_WD[6]), atol=1e-6)
    assert (row["latents"], row["weights"]) == ([6], [1.0])


def test_random_directions_are_controls_alone(binary):
    found = directions("random", binary, DRAWS)
    assert found["draw"].to_list() == [1, 2, 3, 4] and found["controls"].all()
    assert found["latents"].null_count() == found["weights"].null_count() == DRAWS


@pytest.mark.parametrize("name", NAMES)
def test_directions_are_unit_vectors_each_other_than_its_controls_and_these_than_each_other(binary, name):
    found = directions(name, binary, DRAWS)
    vectors = np.array(found["vector"].to_list())
    assert vectors.shape == (DRAWS + (name != "random"), SIZE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosine = vectors @ vectors.T - np.eye(len(vectors))
    assert np.abs(cosine).max() < 0.999


@pytest.mark.parametrize("name", NAMES)
def test_controls_are_the_same_again_however_many_are_asked(name):
    few, many = directions(name, source(), 2), directions(name, source(), 7)
    assert few.equals(many.head(len(few)))


@pytest.mark.parametrize("name", OF_LABELS)
def test_controls_are_made_as_the_direction_is_from_shuffled_labels(ternary, name, monkeypatch):
    kept, shuffled = [], Source.shuffled
    monkeypatch.setattr(Source, "shuffled", lambda self, generator: kept.append(shuffled(self, generator)) or kept[-1])
    found = directions(name, ternary, DRAWS)
    assert len(kept) == DRAWS and found["controls"].to_list() == [False] + [True] * DRAWS
    for labels, vector in zip(kept[:], found["vector"].to_list()[1:], strict=True):
        alike = replace(ternary, task=copy(ternary.task))  # whose labels are these
        alike.task.label_E = alike.task.label_E.copy()
        alike.task.label_E[alike.task.train_E] = labels
        alike.task.penalties = [ternary.states_probe[0].C]
        if name == "probe":
            alike.decision = replace(ternary.decision, probe=refitted(alike, labels))
        np.testing.assert_allclose(vector, first(name, alike)[0], atol=5e-4)


@threadpool_limits.wrap(limits=1)
def refitted(made: Source, labels: np.ndarray) -> LinearProbe:
    acts_EW, _, _ = training(made)
    scaled_EK = acts_EW[:, made.decision.latents_K] / acts_EW[:, made.decision.latents_K].max(axis=0)
    probe = LogisticRegression(C=made.decision.probe.C, class_weight="balanced", tol=1e-6, max_iter=10000)
    probe.fit(scaled_EK, labels)
    return replace(made.decision.probe, weights_CK=probe.coef_, intercept_C=probe.intercept_)


def test_shuffled_labels_keep_groups_whole_and_classes_as_large(ternary):
    groups = ternary.task.examples["group"].to_numpy()[ternary.task.train_E]
    right = ternary.label_E
    draws = [ternary.shuffled(np.random.default_rng(draw)) for draw in range(50)]
    for labels in draws:
        assert all(len(set(labels[groups == group])) == 1 for group in np.unique(groups))
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(right))
    expected = (np.bincount(right) ** 2).sum() / len(right) ** 2
    assert abs(np.mean([(labels == right).mean() for labels in draws]) - expected) < 0.03


def test_sizes_of_classes_are_kept_where_groups_differ_in_size_and_hold_several_labels():
    made = source(classes=3, number=2)
    made.task.examples = made.task.examples.with_columns(group=made.task.examples["group"] // 3 * 3)
    groups = made.task.examples["group"].to_numpy()[made.task.train_E]
    assert max(len(set(made.label_E[groups == group])) for group in np.unique(groups)) > 1
    draws = [made.shuffled(np.random.default_rng(draw)) for draw in range(100)]
    for labels in draws:
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(made.label_E))
    expected = (np.bincount(made.label_E) ** 2).sum() / len(made.label_E) ** 2
    assert abs(np.mean([(labels == made.label_E).mean() for labels in draws]) - expected) < 0.03


def test_minimal_pairs_have_controls_of_both_labels():
    """Every group holds both: no direction is without a class."""
    made = source()
    labels = np.tile(["class 0", "class 1"], len(made.task.examples) // 2)
    made.task.examples = made.task.examples.with_columns(label=pl.Series(labels))
    made.task.label_E = np.tile([0, 1], len(labels) // 2)
    assert set(np.bincount(made.shuffled(np.random.default_rng(0)))) == {int(made.task.train_E.sum()) // 2}
    assert len(directions("difference", made, 3)) == 4


def test_controls_of_a_latent_are_others_that_fire_as_often_each_once(binary):
    acts_EW, _, _ = training(binary)
    rate_W = (acts_EW != 0).mean(axis=0)
    for latent in (0, 1, 2, 20):
        latents = [one for (one,) in directions(f"latent-{latent}", binary, 8)["latents"].to_list()[1:]]
        assert len({latent, DEAD, *latents}) == 10
        nearest = np.sort(np.abs(np.log(rate_W[rate_W > 0] / rate_W[latent])))
        for draw, one in enumerate(latents, start=1):
            assert abs(np.log(rate_W[one] / rate_W[latent])) <= nearest[draw + 4] + 1e-9  # five are left to draw from


def test_a_latent_that_never_fires_is_a_direction_too(binary):
    assert directions(f"latent-{DEAD}", binary, DRAWS)["latents"].to_list()[0] == [DEAD]


def test_what_nothing_speaks_for_is_refused():
    made = source()
    made.decision.probe.weights_CK[:] = -np.abs(made.decision.probe.weights_CK)
    fails(lambda: directions("probe", made, 2), "direction probe", "'class 1'", "(draw 0)", "leave this direction out")
    made.hidden_ED[:] = 1
    fails(lambda: directions("difference", made, 2), "direction difference", "'class 1'")


def test_more_controls_than_latents_fire_are_refused():
    fails(
        lambda: directions(PLANTED, source(), WIDTH),
        f"direction {PLANTED}",
        f"{WIDTH - 2} other latents fire",
        "lower draws",
    )


@pytest.mark.parametrize("name", ["probe", "difference", "latent-6", "latent-20"])
def test_what_a_direction_tells_of_its_class_is_judged_on_test_texts(binary, name):
    found = directions(name, binary, 2)
    (row,) = tells(binary, found).to_dicts()
    one, test_E = found.row(0, named=True), binary.task.split_E == "test"
    if one["latents"] is None:
        scaled_ED = StandardScaler().fit(binary.hidden_ED[~test_E]).transform(binary.hidden_ED)
        probe = LogisticRegression(C=binary.states_probe[0].C, class_weight="balanced", tol=1e-8, max_iter=10_000)
        probe.fit(scaled_ED[~test_E], binary.task.label_E[~test_E])
        score_E = (1 if binary.number else -1) * probe.decision_function(scaled_ED[test_E])
    else:
        score_E = binary.features_EW.toarray()[test_E][:, one["latents"]] @ np.array(one["weights"])
    expected = roc_auc_score(binary.task.label_E[test_E] == binary.number, score_E) - 0.5
    assert row["difference"] == pytest.approx(expected, abs=1e-3) and row["examples"] == test_E.sum()
    assert (row["difference_low"] > 0) == (name != "latent-20")


def test_random_directions_are_not_asked_what_they_tell(binary):
    assert tells(binary, directions("random", binary, 2)).is_empty()
