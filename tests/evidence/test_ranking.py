"""Columns compared all at once, and columns that are alike."""

import numpy as np
import pytest
from tessera.evidence.ranking import matched, roc_auc
from tessera.probes import influence


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("groups", [60, 20])
def test_every_column_has_the_auc_and_variance_of_the_one_column_function(negative, groups):
    generator = np.random.default_rng(groups)
    size, columns = 60, 9
    acts_EK = np.where(generator.random((size, columns)) < 0.5, generator.gamma(1, 1, (size, columns)).round(1), 0)
    acts_EK *= np.where(generator.random((size, columns)) < 0.3, -1, 1) if negative else 1
    acts_EK[:, 3] = 0
    acts_EK[0, 3] = 1.0
    is_E = generator.random(size) < 0.4
    group_E = np.unique(generator.integers(groups, size=size), return_inverse=True)[1]
    row, column = np.nonzero(acts_EK)
    mixed = generator.permutation(len(row))
    row, column = row[mixed], column[mixed]
    auc_K, variance_K = roc_auc(column, row, acts_EK[row, column], columns, is_E, group_E)
    for number in range(columns):
        both_E2 = np.stack([-acts_EK[:, number], acts_EK[:, number]], axis=1)
        value, influence_E = influence.roc_auc(is_E.astype(int), both_E2)
        of_groups = influence.summed(influence_E, group_E, int(group_E.max()) + 1)
        assert auc_K[number] == pytest.approx(value)
        assert variance_K[number] == pytest.approx((of_groups**2).sum())


def test_one_class_alone_has_no_auc():
    auc_K, variance_K = roc_auc(np.array([0]), np.array([1]), np.array([1.0]), 2, np.ones(3, dtype=bool), np.arange(3))
    assert np.isnan(auc_K).all() and np.isnan(variance_K).all()


def test_matched_columns_are_others_and_alike():
    rate_K = np.repeat([0.01, 0.5], 20)
    wanted = np.array([1, 2, 25])
    found = matched(wanted, np.log(rate_K)[:, None], np.random.default_rng(0))
    assert len(set(found)) == 3 and not set(found) & set(wanted)
    assert sorted(rate_K[found]) == [0.01, 0.01, 0.5]


def test_no_more_columns_are_matched_than_are_left():
    assert len(matched(np.arange(4), np.zeros((6, 1)), np.random.default_rng(0))) == 2
