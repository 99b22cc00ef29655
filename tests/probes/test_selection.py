"""Feature selection: what it ranks, and that it never sees the rows it is tested on."""

import re

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import yaml
from probes.asis import as_folds, folds_of, run
from sklearn.feature_selection import SelectKBest, f_classif
from tessera.probes.selection import METHODS, Selected, select
from tessera.probes.task import Task
from tessera.study.config import SCHEMA
from tessera.study.grid import SELECTIONS, parse_selection

SETTINGS = {"seed": 0, "folds": 4, "resamples": 20, "C": [0.01, 1.0]}


def planted(size=240, width=60, classes=2, seed=0, columns=(7, 21, 40)):
    """Sparse noise [E, W], and columns that tell the class most of the time."""
    generator = np.random.default_rng(seed)
    label_E = generator.integers(classes, size=size)
    features_EW = generator.random((size, width)) * (generator.random((size, width)) < 0.3)
    for number, column in enumerate(columns):
        features_EW[:, column] = (label_E == number % classes) * (generator.random(size) < 0.8)
    return sp.csr_array(features_EW.astype(np.float32)), label_E


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dense", [False, True])
def test_planted_columns_are_found(method, classes, dense):
    features_EW, label_E = planted(classes=classes)
    matrix = features_EW.toarray() if dense else features_EW
    assert set(METHODS[method](matrix, label_E, 3)[:3]) == {7, 21, 40}


def test_rankings_are_those_of_numpy_and_sklearn():
    features_EW, label_E = planted(classes=3)
    dense = features_EW.toarray().astype(np.float64)
    one = [np.nan_to_num([np.corrcoef(column, label_E == label)[0, 1] for column in dense.T]) for label in range(3)]
    assert list(METHODS["correlation"](features_EW, label_E, 9)) == list(np.argsort(-np.max(np.abs(one), axis=0)))
    means = [np.abs(dense[label_E == label].mean(0) - dense[label_E != label].mean(0)) for label in range(3)]
    assert list(METHODS["difference"](features_EW, label_E, 9)) == list(np.argsort(-np.max(means, axis=0)))
    best = SelectKBest(f_classif, k=9).fit(dense, label_E).get_support(indices=True)
    assert sorted(METHODS["anova"](features_EW, label_E, 9)[:9]) == list(best)


def test_constant_columns_come_last():
    features_EW, label_E = planted()
    dense = features_EW.toarray()
    dense[:, [3, 5]] = [0, 1]
    for method in ("correlation", "anova", "difference"):
        assert {3, 5} == set(METHODS[method](sp.csr_array(dense), label_E, 60)[-2:])


@pytest.mark.parametrize("size", [500, 3000])
def test_a_column_without_variance_inside_classes_comes_first(size):
    label_E = np.arange(size) % 2
    dense = np.random.default_rng(0).random((size, 54)).astype(np.float32)
    dense[:, 50], dense[:, 51], dense[:, 52], dense[:, 53] = 0.7 * label_E, 0.3 * (1 - label_E), 0.7, 0.3
    order = METHODS["anova"](dense, label_E, 54).tolist()
    assert {*order[:2]} == {50, 51} and {*order[-2:]} == {52, 53}


def test_a_smaller_k_keeps_a_subset():
    features_EW, label_E = planted()
    fold_E = np.arange(len(label_E)) % 4
    chosen = select(
        features_EW,
        as_folds(features_EW, label_E, fold_E),
        label_E,
        ["none", *(f"{method}-{k}" for method in METHODS for k in (4, 16))],
    )
    assert chosen["none"] is None
    for method in METHODS:
        small, large = chosen[f"{method}-4"], chosen[f"{method}-16"]
        assert len(small.whole) == 4 and len(large.whole) == 16
        for few, many in zip([*small.folds, small.whole], [*large.folds, large.whole], strict=True):
            assert set(few) < set(many)
            assert list(few) == sorted(few)


@pytest.mark.parametrize("method", METHODS)
def test_a_fold_does_not_choose_its_own_columns(method):
    features_EW, label_E = planted()
    fold_E = np.arange(len(label_E)) % 4
    changed = label_E.copy()
    changed[fold_E == 2] = 1 - changed[fold_E == 2]
    chosen, other = (
        select(features_EW, as_folds(features_EW, labels, fold_E), labels, [f"{method}-5"])[f"{method}-5"]
        for labels in (label_E, changed)
    )
    assert list(chosen.folds[2]) == list(other.folds[2])


def examples(label_E, test_E):
    size = len(label_E)
    return pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": [str(i) for i in range(size)],
            "text": [str(i) for i in range(size)],
            "label": [str(label) for label in label_E],
            "split": np.where(test_E, "test", "train"),
            "group": pl.Series(range(size), dtype=pl.UInt32),
        }
    )


def chosen(task, features_EW, selection):
    """The columns that a selection keeps, chosen on a task's training rows."""
    return select(features_EW[task.train_E], folds_of(task, features_EW), task.label_E[task.train_E], [selection])[
        selection
    ]


@pytest.mark.parametrize("method", METHODS)
def test_on_noise_the_cross_validated_score_is_chance(method):
    """Ten columns of 2,000, chosen on all training rows, would tell random labels apart in the folds."""
    generator = np.random.default_rng(1)
    features_EW = sp.csr_array((generator.random((200, 2000)) < 0.2).astype(np.float32))
    label_E = np.arange(200) % 2
    task = Task(examples(label_E, np.arange(200) >= 160), **SETTINGS)
    selected = chosen(task, features_EW, f"{method}-10")
    cell = run(task, features_EW, None, selected)
    assert cell.scores["cv_macro_f1"][0] < 0.62
    leaky = run(task, features_EW, None, Selected([selected.whole] * 4, selected.whole))
    assert leaky.scores["cv_macro_f1"][0] > 0.68
    assert cell.scores["n_features"][0] == 10


def test_a_probe_on_all_columns_selected_is_the_probe_on_all():
    features_EW, label_E = planted()
    task = Task(examples(label_E, np.arange(240) >= 180), **SETTINGS)
    whole = run(task, features_EW)
    some = run(task, features_EW, None, chosen(task, features_EW, "anova-60"))
    assert whole.scores.equals(some.scores)
    assert whole.coefficients.equals(some.coefficients)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_matrix_keeps_a_column(method, value):
    features_EW = sp.csr_array(np.full((40, 3), value, dtype=np.float32))
    label_E, fold_E = np.arange(40) % 2, np.arange(40) // 2 % 4
    selected = select(features_EW, as_folds(features_EW, label_E, fold_E), label_E, [f"{method}-2"])[f"{method}-2"]
    assert min(map(len, [*selected.folds, selected.whole])) >= 1


def test_coefficients_name_the_selected_latents():
    features_EW, label_E = planted()
    task = Task(examples(label_E, np.arange(240) >= 180), **SETTINGS)
    cell = run(task, features_EW, None, chosen(task, features_EW, "difference-3"))
    assert cell.coefficients["latent"].drop_nulls().to_list() == [7, 21, 40]


@pytest.mark.parametrize("wrong", ["anova", "anova-0", "f-10", "l1-", "none-3"])
def test_other_selections_are_refused(wrong):
    with pytest.raises(ValueError, match="allowed: none, difference-K, relative-K"):
        parse_selection(wrong)


def test_every_ranking_is_named_and_can_be_asked_for_in_a_config():
    asked = yaml.safe_load(SCHEMA.read_text())["properties"]["grid"]["properties"]["selections"]["items"]["pattern"]
    assert {*METHODS} == {*SELECTIONS}
    assert all(re.match(asked, f"{method}-8") and parse_selection(f"{method}-8") == (method, 8) for method in METHODS)
