"""A decision tree: one question to a column after another, so that columns can count together."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from tessera.features.spaces import Features
from tessera.probes.fitted import Probe, columns_of
from tessera.probes.kind import ProbeKind

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

DEPTHS, LEAVES = (3, 5, 7, 9), (4, 2, 1)  # those of arXiv 2502.11367; of equals the smaller tree


@dataclass(kw_only=True)
class TreeProbe(Probe):
    """One tree, or a sum of trees, as scikit-learn fits them."""

    model: "ClassifierMixin" = field(repr=False)

    def read(self, features_EK: Features) -> Features:
        """The matrix [E, J] that the model reads."""
        return _short(columns_of(features_EK, self.columns_K))

    def columns_read(self, size: int) -> np.ndarray:
        """The columns [J] that it reads, of `size`."""
        return np.arange(size) if self.columns_K is None else self.columns_K

    def probabilities(self, features_EK: Features) -> np.ndarray:
        return self.model.predict_proba(self.read(features_EK))


class Tree(ProbeKind):
    """Classes weigh alike however many examples they have.

    Cross-validation chooses the depth, and how many training examples a leaf holds at least.
    """

    name = "tree"
    title = "decision tree"
    kinds = ("sae", "hidden", "embeddings", "length", "pixels")
    linear = False
    trees = "probability"

    def candidates(self, penalties: list[float]) -> list[dict]:
        return [{"depth": depth, "leaf": leaf} for depth in DEPTHS for leaf in LEAVES]

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> TreeProbe:
        return self._fit(_by_columns(train_EK, columns_K), label_E, names, candidate, columns_K, seed)

    def fold_predictions(self, fold, names, candidates, columns_K, seed) -> list[np.ndarray]:
        """Of all candidates from one matrix by columns."""
        inside_EK = _by_columns(fold.inside_EK, columns_K)
        fits = (self._fit(inside_EK, fold.label_E, names, one, columns_K, seed) for one in candidates)
        return [probe.probabilities(fold.outside_EK).argmax(axis=1) for probe in fits]

    def _fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> TreeProbe:
        from sklearn.tree import DecisionTreeClassifier

        model = DecisionTreeClassifier(
            max_depth=candidate["depth"],
            min_samples_leaf=candidate["leaf"],
            class_weight="balanced",
            random_state=seed,
        )
        setting = self.setting(candidate)
        return TreeProbe(classes=names, model=model.fit(train_EK, label_E), setting=setting, columns_K=columns_K)


def _by_columns(features_EK: Features, columns_K: np.ndarray | None) -> sp.csc_array | np.ndarray:
    """CSC, or dense."""
    chosen = columns_of(features_EK, columns_K)
    return _short(sp.csc_array(chosen)) if sp.issparse(chosen) else chosen


def _short(features_EK: Features) -> Features:
    """With indices of 32 bits: scikit-learn's trees refuse others."""
    if sp.issparse(features_EK):
        for part in ("indices", "indptr"):
            setattr(features_EK, part, getattr(features_EK, part).astype(np.int32, copy=False))
    return features_EK
