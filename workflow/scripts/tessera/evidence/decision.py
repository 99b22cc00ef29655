"""The decision that evidence is about: a place's best cell in one repeat, its probe, what each latent adds."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from tessera.base import hive
from tessera.features.registry import KINDS
from tessera.features.spaces import Features, Thresholding
from tessera.probes.fitted import LinearProbe
from tessera.probes.task import read_probe

AXES = KINDS["sae"].axes  # of a cell


@dataclass
class Decision:
    """A fitted cell: decision = intercept + Σ weight × value over the latents of its matrix.

    cell: pooling, threshold, selection.
    """

    cell: dict[str, str]
    classes: list[str]
    probe: LinearProbe
    thresholding: Thresholding

    @property
    def latents_K(self) -> np.ndarray:
        """Latents whose weights the probe has, ascending."""
        return self.thresholding.columns_K

    @cached_property
    def weights_CK(self) -> np.ndarray:
        """A row of weights per class."""
        return weights_of(self.probe)

    @cached_property
    def intercept_C(self) -> np.ndarray:
        """What the decision for each class is where no latent fires."""
        return _per_class(self.probe, self.probe.intercept_C)

    def matrix(self, features_EW: Features) -> Features:
        """The matrix [E, K] of pooled features."""
        return self.thresholding.apply(features_EW)


def weights_of(probe: LinearProbe) -> np.ndarray:
    """A row of weights [C, K] per class; of two classes, the first one's are those of the second, negated."""
    return _per_class(probe, probe.weights_CK)


def _per_class(probe: LinearProbe, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([-rows, rows]) if len(probe.classes) == 2 else rows


def gaps(weights_CK: np.ndarray, total_CK: np.ndarray, of_C: np.ndarray) -> np.ndarray:
    """What each column adds to telling each class [C, K]: weight × (mean on rows of the class − mean on all others).

    A column that is the same everywhere adds much to every decision and tells nothing; so this ranks them, as in the
    attributions of SHIFT and TPP (arXiv 2411.18895).

    Args:
        total_CK: sums of the columns over the rows of each class, which are `of_C`.
    """
    inside_CK = total_CK / np.maximum(1, of_C)[:, None]
    outside_CK = (total_CK.sum(axis=0) - total_CK) / np.maximum(1, of_C.sum() - of_C)[:, None]
    return weights_CK * (inside_CK - outside_CK)


def read_decision(cells: list[str], classes: list[str], repeat: int = 0) -> Decision:
    """The cell of one place and data set that is best by cross-validation in a repeat, among equals the first.

    cells: scores and coefficients of all its cells.
    """
    parts = hive.by(cells, *AXES)
    at = {hive.part(files, "scores"): cell for cell, files in parts.items()}
    best = best_of(at, repeat)
    coefficients = pl.read_parquet(hive.part(parts[at[best]], "coefficients"))
    cell = dict(zip(AXES, at[best], strict=True))
    return Decision(cell, classes, *read_probe(pl.read_parquet(best), coefficients, classes, repeat))


def best_of(scores: Iterable[str], repeat: int = 0) -> str:
    """The one of files of scores whose cell is best by cross-validation in a repeat, among equals the first."""
    return max(scores, key=lambda file: pl.read_parquet(file).filter(repeat=repeat)["cv_macro_f1"][0])
