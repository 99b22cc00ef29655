"""Would other texts, splits or seeds have named the same latents? Overlap of the top k, against permuted labels."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base.errors import TesseraError
from tessera.evidence.sufficiency import Basis, most_telling
from tessera.matching.correlation import correlate, one_to_one
from tessera.probes.fit import fit_at
from tessera.probes.task import Task

PERMUTATIONS = 19  # so that the smallest p is .05
TRIES = 1000
SCHEMA = {
    "over": pl.String,
    "k": pl.Int64,
    "sets": pl.Int64,
    "jaccard": pl.Float64,
    "null_jaccard": pl.Float64,
    "null_high": pl.Float64,
    "p": pl.Float64,
}
Sets = list[set]


def jaccard(sets: Sets) -> float:
    """Mean over pairs of sets: size of what they share over size of what either has."""
    return float(np.mean([len(one & other) / max(1, len(one | other)) for one, other in combinations(sets, 2)]))


def top(train_EK: sp.csr_array, label_E: np.ndarray, task: Task, C: float, k: int) -> set[int]:
    """The k columns that add most to telling the classes by a probe of that C, on its training rows."""
    return {*map(int, most_telling(train_EK, label_E, fit_at(train_EK, label_E, task.classes, C))[:k])}


def stability(basis: Basis, tasks: list[Task], seeds: list[Basis], k: int) -> pl.DataFrame:
    """A row per source of chance: folds of the training split, repeats, and seeds of the SAE where there are several.

    One matrix of all latents and one C throughout. Of other seeds, a latent is what it correlates with in a one-to-one
    match over training texts, or none. Null: the same with labels permuted among groups of examples, texts that
    training sets share included; p is the share of permutations that overlap as much. No row where k is over half of
    the latents, any two sets of which overlap.

    Args:
        basis: all latents that fire, in the first repeat. seeds: those of the same place in the other draws.
    """
    if 2 * k > min(one.matrix_EK.shape[1] for one in (basis, *seeds)):
        return pl.DataFrame(schema=SCHEMA)
    partners = [_partners(basis, other) for other in seeds]
    task, rows_R = basis.task, [one.train_E for one in tasks]
    rows_F = [task.train_E.copy() for _ in np.unique(task.fold_E)]
    for rows_E, fold in zip(rows_F, np.unique(task.fold_E), strict=True):
        rows_E[task.train_E] = task.fold_E != fold

    def of_rows(label_E: np.ndarray, several: list[np.ndarray]) -> Sets:
        return [top(basis.matrix_EK[rows_E], label_E[rows_E], task, basis.C, k) for rows_E in several]

    def of_seeds(label_E: np.ndarray) -> Sets:
        train_E = label_E[task.train_E]
        first = top(basis.train_EK, train_E, task, basis.C, k)
        others = [top(other.train_EK, train_E, task, other.C, k) for other in seeds]
        return [first, *(_named(*one) for one in zip(range(len(seeds)), others, partners, strict=True))]

    sources: dict[str, Callable[[np.ndarray], Sets]] = {"folds": lambda label_E: of_rows(label_E, rows_F)}
    sources |= {"repeats": lambda label_E: of_rows(label_E, rows_R)} if len(tasks) > 1 else {}
    sources |= {"seeds": of_seeds} if seeds else {}
    null = [permuted(task, [*rows_F, *rows_R], draw) for draw in range(PERMUTATIONS)]
    return pl.DataFrame([_row(over, sets_of, task, null, k) for over, sets_of in sources.items()], schema=SCHEMA)


def _row(over: str, sets_of: Callable, task: Task, null: list[np.ndarray], k: int) -> dict:
    observed = sets_of(task.label_E)
    value, null_P = jaccard(observed), np.array([jaccard(sets_of(label_E)) for label_E in null])
    return {
        "over": over,
        "k": k,
        "sets": len(observed),
        "jaccard": value,
        "null_jaccard": float(null_P.mean()),
        "null_high": float(null_P.max()),
        "p": float((1 + (null_P >= value - 1e-12).sum()) / (1 + len(null_P))),
    }


def permuted(task: Task, fits: list[np.ndarray], draw: int) -> np.ndarray:
    """Labels [E] permuted among the groups of the examples that some fit has, each group's first label for all of it.

    Drawn again until every class is in every fit (`fits`: its rows [E]), as it is in the data.
    """
    dealt_E = np.any(fits, axis=0)
    group_E = np.unique(task.examples["group"].to_numpy()[dealt_E], return_inverse=True)[1]
    _, first_G = np.unique(group_E, return_index=True)
    generator, classes = np.random.default_rng([task.seed, draw]), len(task.classes)
    label_E = task.label_E.copy()
    for _ in range(TRIES):
        label_E[dealt_E] = task.label_E[dealt_E][first_G][generator.permutation(len(first_G))][group_E]
        if all(len(np.unique(label_E[rows_E])) == classes for rows_E in fits):
            return label_E
    raise TesseraError("stability: a class has too few training texts to permute labels so that every fold has it")


def _partners(basis: Basis, other: Basis) -> dict[int, int]:
    """Column of the other basis → the column that it matches."""
    partner_V, _ = one_to_one(correlate(sp.csr_array(other.train_EK), sp.csr_array(basis.train_EK)))
    return {column: int(partner) for column, partner in enumerate(partner_V) if partner >= 0}


def _named(seed: int, columns: set, partner: dict[int, int]) -> set:
    """A seed's columns by the names that the first basis gives them; one without a partner is like no other."""
    return {partner.get(column, (seed, column)) for column in columns}
