"""Gradient boosting: small trees one after another, each on what those before it left, as scikit-learn has it."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from tessera.base.errors import TesseraError
from tessera.features.spaces import Features
from tessera.probes.fitted import columns_of
from tessera.probes.kind import ProbeKind
from tessera.probes.tree import TreeProbe

LEAVES, ROUNDS = (4, 8), (25, 50, 100)  # two columns that count together, or more; of equals the smaller model
LEAST = 5  # training examples of a leaf: a latent fires on few
RATE = 0.1
BINS = 63
LARGEST = 2 * 2**30  # bytes of a dense matrix, in double precision


@dataclass
class Bins:
    """Columns cut into at most `BINS` bins between their distinct values.

    Scikit-learn cuts at percentiles instead: that leaves a latent that fires on few texts two or three bins, and takes
    longer than all trees where classes are weighted.

    columns_J: those that a tree can ask for: with `LEAST` values that are not 0. edges: of each, ascending.
    """

    columns_J: np.ndarray
    edges: list[np.ndarray]

    @classmethod
    def of(cls, train_EK: Features) -> "Bins":
        often_K = (train_EK != 0).sum(axis=0) >= LEAST
        columns_J = np.flatnonzero(often_K) if often_K.any() else np.zeros(1, dtype=np.int64)  # a model needs a column
        return cls(columns_J, [_edges(column_E) for column_E in _dense(train_EK, columns_J).T])

    def apply(self, features_EK: Features) -> np.ndarray:
        """The number of the bin [E, J] of each value."""
        columns = zip(self.edges, _dense(features_EK, self.columns_J).T, strict=True)
        return np.array([np.searchsorted(edges, column_E) for edges, column_E in columns], dtype=np.float64).T


def _edges(column_E: np.ndarray) -> np.ndarray:
    values = np.unique(column_E).astype(np.float64)
    middles = (values[1:] + values[:-1]) / 2  # the first between 0 and the smallest, where a latent fires
    chosen = np.linspace(0, len(middles) - 1, BINS - 1).round().astype(int)
    return middles if len(middles) < BINS else middles[chosen]


def _dense(features_EK: Features, columns_J: np.ndarray) -> np.ndarray:
    """Columns [E, J], one after another in memory.

    Raises:
        TesseraError: they are too many.
    """
    examples, columns = features_EK.shape[0], len(columns_J)
    if examples * columns * 8 > LARGEST:
        raise TesseraError(
            f"gradient boosting reads a dense matrix, and that of {examples} examples and {columns} columns is over "
            f"{LARGEST >> 30} GiB: choose columns with grid.selections (anova-1024 without none), or leave these "
            f"features out of probes.boosting"
        )
    chosen = features_EK[:, columns_J]
    return chosen.toarray(order="F") if sp.issparse(chosen) else np.asfortranarray(chosen)


@dataclass(kw_only=True)
class BoostingProbe(TreeProbe):
    bins: Bins

    def read(self, features_EK: Features) -> np.ndarray:
        return self.bins.apply(columns_of(features_EK, self.columns_K))

    def columns_read(self, size: int) -> np.ndarray:
        return super().columns_read(size)[self.bins.columns_J]

    def probabilities(self, features_EK: Features) -> np.ndarray:
        with threadpool_limits(1):
            return super().probabilities(features_EK)


class Boosting(ProbeKind):
    """Classes weigh alike however many examples they have. No stopping by a part held out, which few examples forbid.

    Cross-validation chooses the leaves of a tree, and the rounds: how many trees (of each class, where they are
    several), whose first ones are those of fewer rounds.
    """

    name = "boosting"
    title = "gradient boosting"
    kinds = ("sae", "hidden", "embeddings", "length", "pixels")
    linear = False
    trees = "log odds"
    memory = 8000
    minutes = 240

    def candidates(self, penalties: list[float]) -> list[dict]:
        return [{"leaves": leaves, "rounds": rounds} for leaves in LEAVES for rounds in ROUNDS]

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> BoostingProbe:
        used_EK = columns_of(train_EK, columns_K)
        bins = Bins.of(used_EK)
        model = _model(**candidate, seed=seed).fit(bins.apply(used_EK), label_E)
        return BoostingProbe(
            classes=names, model=model, bins=bins, setting=self.setting(candidate), columns_K=columns_K
        )

    def fold_predictions(self, fold, names, candidates, columns_K, seed) -> list[np.ndarray]:
        """A model of each number of leaves, read off after each number of rounds."""
        inside_EK, outside_EK = (columns_of(part, columns_K) for part in (fold.inside_EK, fold.outside_EK))
        bins = Bins.of(inside_EK)
        inside_EJ, outside_EJ = bins.apply(inside_EK), bins.apply(outside_EK)
        said = {}
        for leaves in LEAVES:
            model = _model(leaves, max(ROUNDS), seed).fit(inside_EJ, fold.label_E)
            said |= {(leaves, number): one for number, one in enumerate(model.staged_predict(outside_EJ), 1)}
        return [said[one["leaves"], one["rounds"]] for one in candidates]


def _model(leaves: int, rounds: int, seed: int):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=RATE,
        max_iter=rounds,
        max_leaf_nodes=leaves,
        min_samples_leaf=LEAST,
        max_bins=BINS,
        class_weight="balanced",
        early_stopping=False,
        random_state=seed,
    )
