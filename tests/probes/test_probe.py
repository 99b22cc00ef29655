"""The probe: thresholds, the choice of C, and scores, against numpy and scikit-learn."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from probes.asis import folds_of, run
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from tessera.base.errors import TesseraError
from tessera.features.spaces import Thresholding
from tessera.probes.fit import fit_probe
from tessera.probes.fitted import LinearProbe
from tessera.probes.task import Task

C = [0.01, 0.1, 1.0]
SETTINGS = {"seed": 0, "folds": 3, "resamples": 100, "C": C}
seeds = st.integers(0, 2**32 - 1)


def features(seed, rows=12, columns=8):
    """Sparse positive features; a few values, so that some equal a threshold; some columns never fire."""
    generator = np.random.default_rng(seed)
    dense_EW = generator.choice([0, 0, 0, 0.5, 1, 1.5, 2, 7.25], size=(rows, columns)).astype(np.float32)
    return dense_EW * generator.integers(2, size=columns)


def examples(size=120, classes=2, seed=0, repeated=10):
    """Random labels; the last `repeated` texts are those of the first rows; about a quarter is the test split."""
    generator = np.random.default_rng(seed)
    number = np.append(np.arange(size - repeated), np.arange(repeated))
    label = generator.integers(classes, size=size - repeated)[number]
    split = np.where(generator.random(size - repeated) < 0.25, "test", "train")[number]
    return pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": [f"r{i}" for i in range(size)],
            "text": [f"text {i}" for i in number],
            "label": [f"class {i}" for i in label],
            "split": split,
            "group": pl.Series(number, dtype=pl.UInt32),
        }
    )


def planted(frame, seed=0, strength=1.0, columns=12):
    """Features [E, columns] whose first columns tell the classes apart."""
    generator = np.random.default_rng(seed)
    dense_EW = generator.random((len(frame), columns)) * (generator.random((len(frame), columns)) < 0.3)
    label_E = frame["label"].str.tail(1).cast(pl.Int64).to_numpy()
    dense_EW[np.arange(len(frame)), label_E] += strength
    return sp.csr_array(dense_EW.astype(np.float32))


def thresholded(train_EW, features_EW, threshold):
    """The definition, densely: (matrix [E, K], columns, tau)."""
    if threshold == "none":
        columns_K = np.flatnonzero((train_EW > 0).any(axis=0))
        return features_EW[:, columns_K] / np.abs(train_EW[:, columns_K]).max(axis=0), columns_K, None
    tau = float(threshold) if threshold[0] != "q" else np.percentile(train_EW[train_EW > 0], float(threshold[1:]))
    columns_K = np.flatnonzero((train_EW > tau).any(axis=0))
    return (features_EW[:, columns_K] > tau).astype(float), columns_K, tau


@pytest.mark.parametrize("threshold", ["none", "0.0", "0.5", "1.0", "q25", "q50", "q90"])
@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_thresholding_equals_numpy(threshold, seed):
    features_EW = features(seed)
    features_EW[0, 0] = 3.0
    train_EW = features_EW[:8]
    expected_EK, columns_K, tau = thresholded(train_EW, features_EW, threshold)
    fitted = Thresholding.fit(sp.csr_array(train_EW), threshold)
    found_EK = fitted.apply(sp.csr_array(features_EW))
    assert found_EK.dtype == np.float32
    assert fitted.tau == (None if tau is None else pytest.approx(tau))
    if len(columns_K):
        np.testing.assert_array_equal(fitted.columns_K, columns_K)
        np.testing.assert_allclose(found_EK.toarray(), expected_EK, rtol=1e-6)
    else:
        assert found_EK.shape == (12, 1)


def test_a_value_equal_to_the_threshold_does_not_fire():
    fitted = Thresholding.fit(sp.csr_array(np.array([[1.0, 1.5], [0.5, 1.0]], dtype=np.float32)), "1.0")
    assert fitted.columns_K.tolist() == [1]
    assert fitted.apply(sp.csr_array(np.array([[2.0, 1.0], [0.0, 1.25]], dtype=np.float32))).toarray().tolist() == [
        [0],
        [1],
    ]


def test_negative_values_are_scaled_by_the_largest_magnitude():
    """Activations of abs-top-k SAEs: the second column is never positive."""
    train_EW = np.array([[1.0, -4.0, 0.0], [-8.0, 0.0, 0.0], [0.0, -2.0, 0.0]], dtype=np.float32)
    fitted = Thresholding.fit(sp.csr_array(train_EW), "none")
    assert fitted.columns_K.tolist() == [0, 1]
    np.testing.assert_array_equal(fitted.apply(sp.csr_array(train_EW)).toarray(), train_EW[:, :2] / [8, 4])
    assert Thresholding.fit(sp.csr_array(train_EW), "q50").tau == 1  # percentiles are those of the positive values


@pytest.mark.parametrize("threshold", ["none", "q50"])
def test_thresholding_looks_at_training_rows_only(threshold):
    features_EW = features(1, rows=20)
    fitted = Thresholding.fit(sp.csr_array(features_EW[:10]), threshold)
    kept_EK = fitted.apply(sp.csr_array(features_EW)).toarray()
    features_EW[10:] *= 100
    again_EK = fitted.apply(sp.csr_array(features_EW)).toarray()
    np.testing.assert_array_equal(again_EK[:10], kept_EK[:10])
    assert kept_EK[:10].max() == 1


@pytest.mark.parametrize("threshold", ["none", "1.0", "q50"])
def test_features_that_never_fire_still_fit(threshold):
    frame = examples()
    nothing_EW = sp.csr_array((len(frame), 5), dtype=np.float32)
    task = Task(frame, **SETTINGS)
    fitted = Thresholding.fit(nothing_EW[task.train_E], threshold)
    cell = run(task, fitted.apply(nothing_EW), fitted)
    assert cell.scores["n_features"].to_list() == [1]
    assert cell.scores["density"].to_list() == [0]
    assert cell.scores["roc_auc"].to_list() == [0.5]
    assert cell.predictions["predicted"].n_unique() == 1


def fitted_probe(classes, seed=0, dense=False):
    frame = examples(classes=classes, seed=seed)
    task = Task(frame, **SETTINGS)
    features_EK = planted(frame, seed, strength=0.3)
    features_EK = features_EK.toarray() if dense else features_EK
    label_E = task.label_E[task.train_E]
    return (
        task,
        features_EK,
        fit_probe(features_EK[task.train_E], label_E, folds_of(task, features_EK), task.classes, C),
    )


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_equal_sklearn(classes, dense):
    task, features_EK, probe = fitted_probe(classes, dense=dense)
    model = LogisticRegression(C=probe.C, class_weight="balanced", tol=1e-6, max_iter=5000)
    model.fit(features_EK[task.train_E].astype(np.float64), task.label_E[task.train_E])
    found_EC, expected_EC = probe.probabilities(features_EK), model.predict_proba(features_EK)
    assert found_EC.shape == (len(task.examples), classes)
    np.testing.assert_allclose(found_EC, expected_EC, atol=1e-6)
    np.testing.assert_array_equal(found_EC.argmax(axis=1), model.predict(features_EK))


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_large_decisions_are_finite(classes):
    rows = 1 if classes == 2 else classes
    weights_CK = np.linspace(-1, 1, rows * 2).reshape(rows, 2)
    probe = LinearProbe.of([str(c) for c in range(classes)], weights_CK, np.zeros(rows))
    probability_EC = probe.probabilities(sp.csr_array(np.array([[1e5, 0], [0, 1e5]], dtype=np.float32)))
    assert np.isfinite(probability_EC).all()
    np.testing.assert_allclose(probability_EC.sum(axis=1), 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_C_has_the_best_mean_macro_f1_over_the_folds(classes):
    task, features_EK, probe = fitted_probe(classes, seed=1)
    train_EK, label_E = features_EK[task.train_E], task.label_E[task.train_E]
    means = []
    for value in C:
        model = LogisticRegression(C=value, class_weight="balanced", tol=1e-6, max_iter=5000)
        folds = []
        for fold in range(3):
            held_out_E = task.fold_E == fold
            predicted_E = model.fit(train_EK[~held_out_E], label_E[~held_out_E]).predict(train_EK[held_out_E])
            folds.append(f1_score(label_E[held_out_E], predicted_E, average="macro"))
        means.append(np.mean(folds))
    assert probe.cv_macro_f1 == pytest.approx(max(means), abs=0.03)  # the folds are fitted less exactly
    assert means[C.index(probe.C)] == pytest.approx(max(means), abs=0.03)


def test_among_equal_C_the_smallest_is_chosen_in_any_order_of_the_grid():
    frame = examples()
    features_EK = planted(frame, strength=10)
    chosen = [run(Task(frame, **SETTINGS | {"C": grid}), features_EK).scores["C"][0] for grid in (C, C[::-1])]
    assert chosen == [C[0], C[0]]


def test_test_examples_change_nothing_about_the_probe():
    frame = examples(repeated=0)
    features_EK = planted(frame, strength=0.3)
    first = run(Task(frame, **SETTINGS), features_EK)
    test_E = np.flatnonzero(frame["split"] == "test")
    shuffle = np.random.default_rng(1).permutation
    other_E = np.arange(len(frame))
    other_E[test_E] = shuffle(test_E)
    labels = frame["label"].gather(other_E)
    other_E[test_E] = shuffle(test_E)
    second = run(Task(frame.with_columns(label=labels), **SETTINGS), features_EK[other_E] * 1.0)
    assert second.coefficients.equals(first.coefficients)
    for column in ("C", "cv_macro_f1", "training_examples", "n_features", "density"):
        assert second.scores[column].to_list() == first.scores[column].to_list()
    assert second.scores["macro_f1"].to_list() != first.scores["macro_f1"].to_list()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("threshold", ["none", "1.0", "q75"])
def test_a_planted_problem_is_solved(classes, threshold):
    frame = examples(classes=classes)
    features_EW = planted(frame, strength=5)
    task = Task(frame, **SETTINGS)
    fitted = Thresholding.fit(features_EW[task.train_E], threshold)
    cell = run(task, fitted.apply(features_EW), fitted)
    assert cell.scores["macro_f1"].to_list() == [1]
    assert cell.scores["converged"].to_list() == [True]
    latents = cell.coefficients.drop_nulls("latent").sort(pl.col("weight").abs(), descending=True)["latent"]
    assert set(latents[:classes]) == set(range(classes))


def test_folds_do_not_depend_on_the_order_of_rows():
    frame = examples()
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    first, second = Task(frame, **SETTINGS), Task(shuffled, **SETTINGS)
    np.testing.assert_array_equal(first.fold_E, second.fold_E)
    np.testing.assert_array_equal(first.label_E, second.label_E)
    assert first.classes == second.classes


def test_folds_follow_the_ids_and_not_the_numbers_of_examples():
    frame = examples(repeated=0)
    moved = frame.reverse().with_columns(example=pl.int_range(len(frame), dtype=pl.UInt32))
    first, second = Task(frame, **SETTINGS), Task(moved, **SETTINGS)
    np.testing.assert_array_equal(first.fold_E, second.fold_E[::-1])


def test_folds_never_split_equal_texts_and_hold_every_class():
    task = Task(examples(classes=3, repeated=40), **SETTINGS)
    train = task.examples.filter(split="train").with_columns(fold=pl.Series(task.fold_E))
    assert train["text"].n_unique() < len(train)
    assert (train.group_by("text").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    assert (train.group_by("fold").agg(pl.col("label").n_unique())["label"] == 3).all()


def test_too_few_examples_for_the_folds():
    frame = examples(repeated=0).with_columns(
        label=pl.Series(["class 0"] * 118 + ["class 1"] * 2), split=pl.lit("train")
    )
    with pytest.raises(TesseraError, match=r"'class 1'.* 2 .*probe.folds, 3"):
        Task(frame, **SETTINGS)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_sklearn_on_the_predictions(classes):
    frame = examples(classes=classes)
    frame = frame.with_columns(split=pl.when(pl.col("example") % 7 == 0).then(pl.lit("fr")).otherwise("split"))
    task = Task(frame, **SETTINGS)
    cell = run(task, planted(frame, strength=0.3))
    assert sorted(cell.scores["split"]) == ["fr", "test"]
    for row in cell.scores.to_dicts():
        predictions = cell.predictions.filter(split=row["split"])
        expected = frame.filter(split=row["split"])
        assert predictions["example"].to_list() == expected["example"].to_list()
        assert predictions["label"].to_list() == expected["label"].to_list()
        assert row["examples"] == len(expected)
        label, predicted = predictions["label"].to_numpy(), predictions["predicted"].to_numpy()
        probability_EC = np.array(predictions["probability"].to_list())
        assert predicted.tolist() == [task.classes[c] for c in probability_EC.argmax(axis=1)]
        chosen = [1] if classes == 2 else range(classes)
        positive = [(label == task.classes[c], probability_EC[:, c]) for c in chosen]
        assert row["macro_f1"] == pytest.approx(f1_score(label, predicted, average="macro"))
        assert row["accuracy"] == pytest.approx(accuracy_score(label, predicted))
        assert row["roc_auc"] == pytest.approx(np.mean([roc_auc_score(*pair) for pair in positive]))
        assert row["average_precision"] == pytest.approx(np.mean([average_precision_score(*pair) for pair in positive]))
        assert row["training_examples"] == len(frame.filter(split="train"))


@pytest.mark.parametrize("classes", [2, 3])
def test_coefficients_give_the_predictions_back(classes):
    frame = examples(classes=classes)
    features_EW = planted(frame, strength=0.3)
    task = Task(frame, **SETTINGS)
    fitted = Thresholding.fit(features_EW[task.train_E], "none")
    cell = run(task, fitted.apply(features_EW), fitted)
    decisions = []
    for label in cell.coefficients["class"].unique(maintain_order=True):
        rows = cell.coefficients.filter(pl.col("class") == label)
        latents = rows.drop_nulls("latent")
        scaled_EK = features_EW.toarray()[:, latents["latent"].to_numpy()] / latents["scale"].to_numpy()
        intercept = rows.filter(pl.col("latent").is_null())["weight"].item()
        decisions.append(scaled_EK @ latents["weight"].to_numpy() + intercept)
    test_E = (frame["split"] == "test").to_numpy()
    decision_EC = np.array(decisions).T[test_E]
    predicted_E = (decision_EC[:, 0] > 0).astype(int) if classes == 2 else decision_EC.argmax(axis=1)
    assert [task.classes[c] for c in predicted_E] == cell.predictions["predicted"].to_list()


def test_two_runs_are_equal_apart_from_the_seconds():
    frame = examples(classes=3)
    first, second = (run(Task(frame, **SETTINGS), planted(frame, strength=0.3)) for _ in range(2))
    assert first.scores.equals(second.scores)
    assert first.predictions.equals(second.predictions)
    assert first.coefficients.equals(second.coefficients)


def test_a_cell_reads_back(tmp_path):
    frame = examples()
    cell = run(Task(frame, **SETTINGS), planted(frame))
    names = ["scores", "predictions", "coefficients"]
    cell.write(str(tmp_path / f"{name}.parquet") for name in names)
    for name in names:
        assert pl.read_parquet(tmp_path / f"{name}.parquet").equals(getattr(cell, name))


@pytest.mark.parametrize("threshold", ["none", "0.5", "q50"])
def test_a_threshold_leaves_the_features_as_they_were(threshold):
    features = sp.random_array((30, 8), density=0.5, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    before = features.copy()
    fitted = Thresholding.fit(features, threshold)
    fitted.apply(features)
    assert (features.toarray() == before.toarray()).all()
    assert features.nnz == before.nnz
