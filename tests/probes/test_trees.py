"""Trees: columns that count together, found where they are and nowhere else, and recomputed with scikit-learn alone."""

import numpy as np
import pytest
import scipy.sparse as sp
from probes.test_probe_kinds import task_of
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score
from sklearn.tree import DecisionTreeClassifier
from tessera.base.errors import TesseraError
from tessera.features.registry import kind
from tessera.probes import boosting
from tessera.probes.registry import probe_kind

TREES = ("tree", "boosting")
TESTS = 300


def firing(size: int, latents: int, seed: int) -> sp.csr_array:
    """Pooled latents of which each fires on its own share of the examples, a few on next to none."""
    rng = np.random.default_rng(seed)
    share_W = np.append(np.full(2, 0.5), rng.uniform(0.005, 0.6, latents - 2))
    fires_EW = rng.random((size, latents)) < share_W
    return sp.csr_array((fires_EW * rng.gamma(2, 1, size=(size, latents))).astype(np.float32))


def cell_of(task, features, probe, threshold="none", selection="none"):
    """The cell of pooled latents."""
    (cell,) = task.fit(kind("sae"), features, "sum", threshold, [selection], probe_kind(probe))
    return cell


def either(seed: int, size: int = 300, latents: int = 8):
    """One of two latents fires, but not both: neither alone says anything."""
    features = firing(size + TESTS, latents, seed)
    fires_EW = features[:, :2].toarray() > 0
    return task_of((fires_EW[:, 0] ^ fires_EW[:, 1]).astype(int), TESTS), features


@pytest.mark.parametrize("probe", TREES)
@pytest.mark.parametrize("threshold", ["none", "0.0"])
def test_trees_find_two_latents_that_count_together_and_a_linear_probe_does_not(probe, threshold):
    task, features = either(seed=0)
    f1 = {name: cell_of(task, features, name, threshold).scores["macro_f1"][0] for name in (probe, "logistic")}
    assert f1[probe] > 0.9 and f1["logistic"] < 0.65


@pytest.mark.parametrize("probe", TREES)
def test_latents_that_fire_by_chance_tell_nothing(probe):
    found = []
    for seed in range(4):
        label_E = np.random.default_rng(seed).permutation(np.arange(150 + TESTS) % 2)
        cell = cell_of(task_of(label_E, TESTS), firing(len(label_E), 20, seed), probe)
        found.append(cell.scores["macro_f1"][0])
    assert abs(np.mean(found) - 0.5) < 0.05


def models_of(probe: str, seed: int):
    """Every candidate as scikit-learn has it, in the order of the docs, and what `setting` should say of it."""
    if probe == "tree":
        for depth in (3, 5, 7, 9):
            for leaf in (4, 2, 1):
                yield (
                    f"depth {depth}, leaf {leaf}",
                    DecisionTreeClassifier(
                        max_depth=depth, min_samples_leaf=leaf, class_weight="balanced", random_state=seed
                    ),
                )
    else:
        for leaves in (4, 8):
            for rounds in (25, 50, 100):
                yield (
                    f"leaves {leaves}, rounds {rounds}",
                    HistGradientBoostingClassifier(
                        max_leaf_nodes=leaves,
                        max_iter=rounds,
                        min_samples_leaf=5,
                        class_weight="balanced",
                        early_stopping=False,
                        random_state=seed,
                    ),
                )


@pytest.mark.parametrize("probe", TREES)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_cell_is_what_scikit_learn_makes_of_the_same_folds(probe, classes):
    """Latents of few values, so that boosting has a bin for each; powers of 2, so that scaling them rounds nothing."""
    rng = np.random.default_rng(classes)
    size = 120
    values = rng.choice([0, 0, 0, 0.5, 1, 2, 4], size=(size + TESTS, 12)).astype(np.float32)
    score_E = values[:, 0] + values[:, 1] * (values[:, 2] > 0) + rng.normal(0, 0.5, size + TESTS)
    label_E = np.digitize(score_E, np.quantile(score_E, np.arange(1, classes) / classes))
    task = task_of(label_E, TESTS)
    cell = cell_of(task, sp.csr_array(values), probe)

    form = sp.csc_matrix if probe == "tree" else np.asarray  # of sparse and dense matrices trees break ties otherwise
    train_EW, inside_E = values[task.train_E], label_E[task.train_E]
    f1 = {}
    for setting, model in models_of(probe, task.seed):
        of_folds = []
        for fold in np.unique(task.fold_E):
            out_E = task.fold_E == fold
            largest_W = train_EW[~out_E].max(axis=0)
            model.fit(form(train_EW[~out_E] / largest_W), inside_E[~out_E])
            said_E = model.predict(train_EW[out_E] / largest_W)
            of_folds.append(f1_score(inside_E[out_E], said_E, average="macro"))
        f1[setting] = np.mean(of_folds)
    chosen = max(f1, key=f1.get)
    assert cell.scores["setting"].to_list() == [chosen]
    assert cell.scores["cv_macro_f1"][0] == pytest.approx(f1[chosen], abs=1e-6)
    largest_W = train_EW.max(axis=0)
    model = dict(models_of(probe, task.seed))[chosen].fit(form(train_EW / largest_W), inside_E)
    expected_EC = model.predict_proba(values[~task.train_E] / largest_W)
    np.testing.assert_allclose(np.stack(cell.predictions["probability"].to_numpy()), expected_EC, rtol=1e-9)


@pytest.mark.parametrize("probe", TREES)
def test_a_cell_comes_out_the_same_to_the_last_bit(probe):
    task, features = either(seed=1)
    first, second = (cell_of(task, features, probe) for _ in range(2))
    assert first.predictions.equals(second.predictions) and first.scores.equals(second.scores)
    assert first.coefficients is None


@pytest.mark.parametrize("probe", TREES)
@pytest.mark.parametrize(("threshold", "selection"), [("none", "none"), ("1.0", "none"), ("none", "difference-5")])
def test_a_cell_is_fitted_again_as_it_was(probe, threshold, selection):
    task, features = either(seed=2, latents=30)
    cell = cell_of(task, features, probe, threshold, selection)
    setting = cell.scores["setting"][0]
    again, _, matrix_EK = task.refit(kind("sae"), features, "sum", threshold, selection, probe_kind(probe), setting)
    assert again.setting == setting
    said_EC = again.probabilities(matrix_EK[~task.train_E])
    np.testing.assert_array_equal(said_EC, np.stack(cell.predictions["probability"].to_numpy()))


def test_indices_of_64_bits_are_read_too():
    task, features = either(seed=3)
    long = features.copy()
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    assert cell_of(task, long, "tree").predictions.equals(cell_of(task, features, "tree").predictions)


def test_a_latent_of_few_texts_has_bins_of_its_own():
    """Of 1,000 examples that 3 in 100 of which fire, scikit-learn's 63 percentiles would leave two."""
    column_E = np.zeros(1000, dtype=np.float32)
    column_E[:30] = np.arange(1, 31)
    bins = boosting.Bins.of(sp.csr_array(column_E[:, None]))
    assert len(bins.edges[0]) == 30
    assert bins.apply(sp.csr_array(column_E[:, None]))[:30, 0].tolist() == list(range(1, 31))


def test_bins_of_many_values_are_ranks_cut_evenly():
    values_EK = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    numbers_E = boosting.Bins.of(values_EK).apply(values_EK)[:, 0]
    inner = np.bincount(numbers_E.astype(int))[1:-1]
    assert len(inner) == 61 and inner.min() >= 15 and inner.max() <= 18
    assert (np.diff(numbers_E[np.argsort(values_EK[:, 0])]) >= 0).all()


def test_a_column_that_no_leaf_could_hold_changes_nothing():
    task, features = either(seed=4)
    rare = sp.csr_array((np.ones(4, np.float32), (np.arange(4), np.arange(4) % 2)), shape=(features.shape[0], 2))
    both = sp.csr_array(sp.hstack([features, rare]))
    assert cell_of(task, both, "boosting").predictions.equals(cell_of(task, features, "boosting").predictions)


def test_a_matrix_too_large_to_be_dense_is_an_error_that_names_the_way_out(monkeypatch):
    monkeypatch.setattr(boosting, "LARGEST", 2**12)
    task, features = either(seed=5)
    with pytest.raises(TesseraError, match=r"gradient boosting reads a dense matrix.*grid\.selections"):
        cell_of(task, features, "boosting")


@pytest.mark.parametrize("probe", TREES)
def test_latents_that_never_fire_are_no_error(probe):
    label_E = np.arange(60 + TESTS) % 2
    cell = cell_of(task_of(label_E, TESTS), sp.csr_array((60 + TESTS, 3), dtype=np.float32), probe)
    assert np.isfinite(cell.scores["macro_f1"][0])
