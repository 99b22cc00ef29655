"""How well single columns of a sparse matrix tell a class from the rest, all columns at once."""

import numpy as np


def roc_auc(
    column: np.ndarray, row: np.ndarray, value: np.ndarray, columns: int, is_E: np.ndarray, group_E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC of each column, and its variance, as `probes.influence.roc_auc` and its groups have them.

    Args:
        column, row, value: the entries other than zero, in any order.
        is_E: which rows are of the class. group_E: numbers of groups, whose rows move together.

    Returns:
        auc_K and variance_K (DeLong et al. 1988); all nan where there is one class alone.
    """
    size, many = len(is_E), int(is_E.sum())
    others = size - many
    if not many or not others:
        return np.full(columns, np.nan), np.full(columns, np.nan)
    order = np.lexsort((value, column))
    column, row, value = column[order], row[order], value[order]
    is_N = is_E[row]
    bounds_K = np.searchsorted(column, np.arange(columns + 1))
    new = np.append(True, (column[1:] != column[:-1]) | (value[1:] != value[:-1]))[: len(column)]
    starts = np.flatnonzero(new)
    run_N = np.cumsum(new) - 1

    def placed(side_N: np.ndarray, zeros_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many rows of a side stand below each entry, and below a zero; of equals half."""
        before_N = np.concatenate([[0], np.cumsum(side_N)])
        below = before_N[starts] - before_N[bounds_K[column[starts]]]
        equal = before_N[np.append(starts[1:], len(column))] - before_N[starts]
        found_N = (below + equal / 2)[run_N] + np.where(value > 0, zeros_K[column], 0)
        negative_K = np.bincount(column, weights=side_N & (value < 0), minlength=columns)
        return found_N, negative_K + zeros_K / 2

    here_K = np.bincount(column, weights=is_N, minlength=columns)
    zeros_is_K = many - here_K
    zeros_other_K = others - (np.diff(bounds_K) - here_K)
    below_N, below_zero_K = placed(~is_N, zeros_other_K)
    within_N, within_zero_K = placed(is_N, zeros_is_K)
    share_N = np.where(is_N, below_N / others, 1 - within_N / many)
    zero_is_K, zero_other_K = below_zero_K / others, 1 - within_zero_K / many
    auc_K = (np.bincount(column, weights=np.where(is_N, share_N, 0), minlength=columns) + zeros_is_K * zero_is_K) / many
    per_is, per_other = (1 / np.sqrt(number * max(1, number - 1)) for number in (many, others))
    base_is_K, base_other_K = (zero_is_K - auc_K) * per_is, (zero_other_K - auc_K) * per_other
    influence_N = (share_N - auc_K[column]) * np.where(is_N, per_is, per_other)
    beyond_N = influence_N - np.where(is_N, base_is_K[column], base_other_K[column])
    is_G, other_G = np.bincount(group_E, weights=is_E), np.bincount(group_E, weights=~is_E)
    group_N = group_E[row]
    around_N = is_G[group_N] * base_is_K[column] + other_G[group_N] * base_other_K[column]
    variance_K = base_is_K**2 * (is_G @ is_G) + base_other_K**2 * (other_G @ other_G)
    variance_K += 2 * base_is_K * base_other_K * (is_G @ other_G)
    variance_K += 2 * np.bincount(column, weights=beyond_N * around_N, minlength=columns)
    return auc_K, variance_K + _squares(column, group_N, beyond_N, columns)


def _squares(column: np.ndarray, group_N: np.ndarray, value: np.ndarray, columns: int) -> np.ndarray:
    """Sum over groups of the squared sum of a group's entries, per column."""
    if not len(column):
        return np.zeros(columns)
    order = np.lexsort((group_N, column))
    column, group_N = column[order], group_N[order]
    starts = np.flatnonzero(np.append(True, (column[1:] != column[:-1]) | (group_N[1:] != group_N[:-1])))
    return np.bincount(column[starts], weights=np.add.reduceat(value[order], starts) ** 2, minlength=columns)


def matched(wanted: np.ndarray, traits_KT: np.ndarray, generator: np.random.Generator, near: int = 5) -> np.ndarray:
    """For each wanted column another one that is none of them, each once, alike in its traits.

    One of the `near` closest that are left, at random; traits are compared after division by their standard deviation.

    Returns as many columns as are wanted, or fewer where no more are left.
    """
    scale_T = traits_KT.std(axis=0)
    traits_KT = traits_KT / np.where(scale_T > 0, scale_T, 1)
    free_K = np.ones(len(traits_KT), dtype=bool)
    free_K[wanted] = False
    found = []
    for column in generator.permutation(wanted)[: free_K.sum()]:
        left = np.flatnonzero(free_K)
        distance = ((traits_KT[left] - traits_KT[column]) ** 2).sum(axis=1)
        closest = np.argpartition(distance, near)[:near] if len(left) > near else np.arange(len(left))
        chosen = left[generator.choice(closest)]
        free_K[chosen] = False
        found.append(chosen)
    return np.array(found, dtype=np.int64)
