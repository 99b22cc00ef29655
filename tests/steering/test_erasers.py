"""What is erased: after LEACE no linear probe tells any class, and nothing smaller would do."""

import numpy as np
import pytest
import torch
from concept_erasure.shrinkage import optimal_linear_shrinkage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sources import SIZE, source
from tessera.steering.directions import Source
from tessera.steering.erasers import NOTHING, erasers
from tessera.steering.measures import ERASERS

SHAPES = {"two classes": (2, SIZE), "three classes": (3, SIZE), "more dimensions than texts": (3, 300)}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def made(request) -> Source:
    classes, size = request.param
    return source(classes, number=classes - 1, size=size)


def projection(name: str, made: Source) -> tuple[np.ndarray, np.ndarray]:
    """The matrix that is taken off, left · right, and the centre."""
    (row,) = erasers(name, made, 5).iter_rows(named=True)
    assert (row["draw"], row["latents"]) == (0, None)
    return np.array(row["left"]) @ np.array(row["right"]), np.array(row["centre"])


def training(made: Source) -> tuple[np.ndarray, np.ndarray]:
    return made.states_ED.astype(np.float64), made.label_E


def erased(name: str, made: Source) -> np.ndarray:
    """Training states without what is taken off."""
    states_ED, _ = training(made)
    taken_DD, centre_D = projection(name, made)
    return states_ED - (states_ED - centre_D) @ taken_DD.T


def between(states_ED: np.ndarray, label_E: np.ndarray) -> np.ndarray:
    """How far the mean of each class is from that of all."""
    means_CD = np.stack([states_ED[label_E == one].mean(axis=0) for one in np.unique(label_E)])
    return means_CD - states_ED.mean(axis=0)


def test_leace_leaves_the_classes_one_mean(made):
    assert np.abs(between(erased("leace", made), made.label_E)).max() < 1e-8


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_leace_leaves_no_probe_more_than_a_constant(made, C):
    states_ED = erased("leace", made)
    scaled_ED = (states_ED - states_ED.mean(axis=0)) / states_ED.std(axis=0)
    probe = LogisticRegression(C=C, class_weight="balanced", tol=1e-9, max_iter=1000).fit(scaled_ED, made.label_E)
    told_EC = probe.predict_proba(scaled_ED)
    np.testing.assert_allclose(told_EC, 1 / told_EC.shape[1], atol=1e-6)
    auc = roc_auc_score(made.label_E == 1, told_EC[:, 1].round(6))
    assert abs(auc - 0.5) < 1e-6


def test_before_it_a_probe_tells_them(made):
    states_ED, label_E = training(made)
    scaled_ED = (states_ED - states_ED.mean(axis=0)) / states_ED.std(axis=0)
    assert LogisticRegression(C=0.1).fit(scaled_ED, label_E).score(scaled_ED, label_E) > 0.7


def test_leace_is_a_projection_as_large_as_classes_differ_in(made):
    taken_DD, _ = projection("leace", made)
    np.testing.assert_allclose(taken_DD @ taken_DD, taken_DD, atol=1e-8)
    assert np.linalg.matrix_rank(taken_DD, tol=1e-6) == len(made.task.classes) - 1


def test_leace_of_tokens_is_leace_of_their_mean(made):
    generator = np.random.default_rng(0)
    tokens_TD = generator.normal(size=(9, made.hidden_ED.shape[1]))
    taken_DD, centre_D = projection("leace", made)
    one_by_one = (tokens_TD - (tokens_TD - centre_D) @ taken_DD.T).mean(axis=0)
    mean_D = tokens_TD.mean(axis=0)
    np.testing.assert_allclose(one_by_one, mean_D - taken_DD @ (mean_D - centre_D), atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_leace_changes_states_less_than_what_else_erases_the_label(classes):
    """Every affine map that leaves the classes one mean has the mean differences in its kernel, and keeps the mean."""
    made, generator = source(classes), np.random.default_rng(1)
    states_ED, label_E = training(made)
    centred_ED = states_ED - states_ED.mean(axis=0)
    gap_DN = between(states_ED, label_E)[1:].T
    others = {"orthogonal": gap_DN @ np.linalg.pinv(gap_DN)}
    for draw in range(20):  # along the differences, seen by any others
        seen_ND = np.linalg.pinv(gap_DN) + 0.1 * generator.normal(size=gap_DN.T.shape)
        others[f"oblique {draw}"] = gap_DN @ np.linalg.inv(seen_ND @ gap_DN) @ seen_ND
        free_DD = np.eye(SIZE) - gap_DN @ np.linalg.pinv(gap_DN)
        others[f"of any size {draw}"] = np.eye(SIZE) - generator.normal(size=(SIZE, SIZE)) @ free_DD
    taken_DD, centre_D = projection("leace", made)
    np.testing.assert_allclose(centre_D, states_ED.mean(axis=0), atol=1e-6)
    least = ((centred_ED @ taken_DD.T) ** 2).mean()
    for name, other_DD in others.items():
        np.testing.assert_allclose(between(states_ED - centred_ED @ other_DD.T, label_E), 0, atol=1e-8, err_msg=name)
        assert least <= ((centred_ED @ other_DD.T) ** 2).mean() * (1 + 1e-9), name


def white(covariance_DD: np.ndarray, made: Source) -> np.ndarray:
    """The closed form: what an orthogonal projection of the mean differences takes off where states are white."""
    values_D, axes_DD = np.linalg.eigh(covariance_DD)
    whitening_DD = axes_DD / np.sqrt(values_D) @ axes_DD.T
    gap_DN = whitening_DD @ between(*training(made))[1:].T
    return np.linalg.inv(whitening_DD) @ gap_DN @ np.linalg.pinv(gap_DN) @ whitening_DD


def test_leace_is_its_closed_form_of_a_covariance_that_is_shrunk(made):
    states_ED, _ = training(made)
    shrunk_DD = optimal_linear_shrinkage(torch.from_numpy(np.cov(states_ED.T, bias=True)), len(states_ED)).numpy()
    np.testing.assert_allclose(projection("leace", made)[0], white(shrunk_DD, made), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_shrinkage_costs_little(classes):
    made = source(classes)
    centred_ED = training(made)[0] - training(made)[0].mean(axis=0)
    both = projection("leace", made)[0], white(np.cov(centred_ED.T), made)
    changed, least = (((centred_ED @ taken_DD.T) ** 2).sum() for taken_DD in both)
    assert least <= changed < 1.02 * least


def test_difference_takes_off_what_the_means_differ_by_and_nothing_else(made):
    taken_DD, centre_D = projection("difference", made)
    gap_CD = between(*training(made))
    basis_DN = np.linalg.qr(gap_CD[1:].T)[0]
    np.testing.assert_allclose(taken_DD, basis_DN @ basis_DN.T, atol=1e-5)
    assert np.abs(between(erased("difference", made), made.label_E)).max() < 1e-5
    assert not centre_D.any()


def test_random_subspaces_are_as_large_as_that_of_the_classes_and_others_each_time(made):
    found = erasers("random", made, 4)
    assert found["draw"].to_list() == [0, 1, 2, 3] and found["latents"].null_count() == 4
    bases = [np.array(one) for one in found["right"].to_list()]
    for basis_ND, left in zip(bases, found["left"].to_list(), strict=True):
        assert basis_ND.shape == (len(made.task.classes) - 1, made.hidden_ED.shape[1])
        np.testing.assert_allclose(basis_ND @ basis_ND.T, np.eye(len(basis_ND)), atol=1e-9)
        np.testing.assert_array_equal(left, basis_ND.T)
    overlaps = [np.linalg.norm(one @ other.T, 2) for one in bases for other in bases if one is not other]
    assert max(overlaps) < 0.95
    assert erasers("random", made, 2).equals(found.head(2))


def test_probe_is_the_latents_that_add_most_to_telling_the_classes(made):
    (row,) = erasers("probe", made, 5).iter_rows(named=True)
    acts_EK = made.acts_EW.toarray()[:, made.decision.latents_K] / made.decision.thresholding.scale_K
    weight_CK = made.decision.probe.weights_CK
    weight_CK = np.stack([-weight_CK[0], weight_CK[0]]) if len(weight_CK) == 1 else weight_CK
    adds_K = np.zeros(acts_EK.shape[1])
    for one, weight_K in enumerate(weight_CK):
        is_E = made.label_E == one
        adds_K += np.abs(weight_K * (acts_EK[is_E].mean(axis=0) - acts_EK[~is_E].mean(axis=0)))
    assert row["latents"] == made.decision.latents_K[np.argsort(-adds_K)[: made.k]].tolist()
    assert {5, 6} <= set(row["latents"])
    assert row["left"] is row["right"] is row["centre"] is None


def test_nothing_is_one_row_of_nothing(made):
    assert erasers(NOTHING, made, 5).rows() == [(0, None, None, None, None)]


@pytest.mark.parametrize("name", ERASERS)
def test_erasers_are_the_same_again(name):
    assert erasers(name, source(), 3).equals(erasers(name, source(), 3))
