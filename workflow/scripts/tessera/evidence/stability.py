"""Would other texts, splits or seeds have named the same latents? Overlap of the top k, against permuted labels."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.evidence.sufficiency import Basis, most_telling
from tessera.matching.correlation import correlate, one_to_one
from tessera.probes.fit import fit_at
from tessera.probes.task import Task

PERMUTATIONS = 19  # so that the smallest p is .05
SCHEMA = {
    "over": pl.String,
    "k": pl.Int64,
    "sets": pl.Int64,
    "jaccard": pl.Float64,
    "null_jaccard": pl.Float64,
    "null_high": pl.Float64,
    "p": pl.Float64,
}
Sets = list[set[int]]


def jaccard(sets: Sets) -> float:
    """Mean over pairs of sets: size of what they share over size of what either has."""
    return float(np.mean([len(one & other) / max(1, len(one | other)) for one, other in combinations(sets, 2)]))


def top(train_EK: sp.csr_array, label_E: np.ndarray, task: Task, C: float, k: int) -> set[int]:
    """The k columns that add most to telling the classes by a probe of that C, on its training rows."""
    return {*map(int, most_telling(train_EK, label_E, fit_at(train_EK, label_E, task.classes, C))[:k])}


def stability(basis: Basis, tasks: list[Task], seeds: list[Basis], k: int) -> pl.DataFrame:
    """A row per source of chance: folds of the training split, repeats, and seeds of the SAE where there are several.

    The same cell and C throughout. Of other seeds, a latent is what it correlates with in a one-to-one match over
    training texts, or none. Null: the same with labels permuted among groups of examples, texts that training sets
    share included; p is the share of permutations that overlap as much.

    Args:
        basis: latents of the decision in the first repeat. seeds: those of the same place in the other draws.
    """
    partners = [_partners(basis, other) for other in seeds]
    task = basis.task
    sources: dict[str, Callable[[np.ndarray], Sets]] = {
        "folds": lambda label_E: [
            top(basis.train_EK[task.fold_E != fold], label_E[task.train_E][task.fold_E != fold], task, basis.C, k)
            for fold in np.unique(task.fold_E)
        ],
        "repeats": lambda label_E: [
            top(basis.matrix_EK[one.train_E], label_E[one.train_E], task, basis.C, k) for one in tasks
        ],
        "seeds": lambda label_E: [
            _named(top(other.train_EK, label_E[task.train_E], task, other.C, k), partner)
            for other, partner in zip([basis, *seeds], [None, *partners], strict=True)
        ],
    }
    several = {"folds": True, "repeats": len(tasks) > 1, "seeds": bool(seeds)}
    rows = []
    for over, sets_of in sources.items():
        if several[over]:
            observed = sets_of(task.label_E)
            null = np.array([jaccard(sets_of(permuted(task, draw))) for draw in range(PERMUTATIONS)])
            value = jaccard(observed)
            rows.append(
                {
                    "over": over,
                    "k": k,
                    "sets": len(observed),
                    "jaccard": value,
                    "null_jaccard": float(null.mean()),
                    "null_high": float(null.max()),
                    "p": float((1 + (null >= value - 1e-12).sum()) / (1 + PERMUTATIONS)),
                }
            )
    return pl.DataFrame(rows, schema=SCHEMA)


def permuted(task: Task, draw: int) -> np.ndarray:
    """Labels [E] permuted among the groups of examples, each group's first label for all of it."""
    group_E = np.unique(task.examples["group"].to_numpy(), return_inverse=True)[1]
    _, first_G = np.unique(group_E, return_index=True)
    order_G = np.random.default_rng([task.seed, draw]).permutation(len(first_G))
    return task.label_E[first_G][order_G][group_E]


def _partners(basis: Basis, other: Basis) -> dict[int, int]:
    """Column of the other basis → the column that it matches."""
    partner_V, _ = one_to_one(correlate(sp.csr_array(other.train_EK), sp.csr_array(basis.train_EK)))
    return {column: int(partner) for column, partner in enumerate(partner_V) if partner >= 0}


def _named(columns: set[int], partner: dict[int, int] | None) -> set[int]:
    """Columns by the names that the first basis gives them; one without a partner is like no other."""
    return columns if partner is None else {partner.get(column, -1 - column) for column in columns}
