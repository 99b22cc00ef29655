"""Fitted probes: what is left of a fit, and tells examples apart."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np


@dataclass(kw_only=True)
class Probe(ABC):
    """A fitted probe.

    columns_K: the columns of the features that it uses, where they were selected.
    C, setting: the penalty, and what else, that cross-validation chose, where there was a choice.
    """

    classes: list[str]
    C: float | None = None
    C_at_edge: bool = False
    setting: str | None = None
    cv_macro_f1: float = np.nan
    converged: bool = True
    columns_K: np.ndarray | None = None

    @abstractmethod
    def probabilities(self, features_EK) -> np.ndarray:
        """Class probabilities [E, C]."""


@dataclass(kw_only=True)
class LinearProbe(Probe):
    """decision = features · weights_CKᵀ + intercept_C (one row for two classes); float32 values in double precision."""

    weights_CK: np.ndarray = field(repr=False)
    intercept_C: np.ndarray

    @classmethod
    def of(cls, classes: list[str], weights_CK: np.ndarray, intercept_C: np.ndarray, **about) -> "LinearProbe":
        """The probe of a fit, rounded as a cell keeps it."""
        return cls(classes=classes, weights_CK=_as_kept(weights_CK), intercept_C=_as_kept(intercept_C), **about)

    def decisions(self, features_EK) -> np.ndarray:
        """[E, C], or [E, 1] for two classes."""
        return np.asarray(columns_of(features_EK, self.columns_K) @ self.weights_CK.T) + self.intercept_C

    def probabilities(self, features_EK) -> np.ndarray:
        return softmax(self.decisions(features_EK))


def _as_kept(weights: np.ndarray) -> np.ndarray:
    """As float32, in which a cell keeps them: its probe, read back, tells every example the same to the last bit."""
    return weights.astype(np.float32).astype(np.float64)


def softmax(decision_EC: np.ndarray) -> np.ndarray:
    """Class probabilities [E, C] of decisions [E, C], or [E, 1] for two classes."""
    if decision_EC.shape[1] == 1:
        decision_EC = np.hstack([np.zeros_like(decision_EC), decision_EC])
    odds_EC = np.exp(decision_EC - decision_EC.max(axis=1, keepdims=True))
    return odds_EC / odds_EC.sum(axis=1, keepdims=True)


def columns_of(features_EK, columns_K: np.ndarray | None):
    return features_EK if columns_K is None else features_EK[:, columns_K]
