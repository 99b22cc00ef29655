"""Logistic regression on a GPU, where it is worth one: imported by jobs that the config gives a GPU, and by no other.

The probes are those of `logistic.py`, as near as its solver comes to the optimum (`batched.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import scipy.sparse as sp
import torch

from tessera.base.errors import TesseraError
from tessera.features.spaces import Features
from tessera.probes import batched
from tessera.probes.fitted import LinearProbe, columns_of
from tessera.probes.kind import ProbeKind

# Entries of the features × rows of weights from which a fit goes to the GPU: below, all fits of a cell take fewer
# than some 10 s of one core (benchmarks/fit.py), about what starting a GPU costs. Reasoned, not measured on a GPU.
LARGE = 2**24
DOUBLE = 8  # bytes
OF_WEIGHTS = 2 * batched.HISTORY + 14  # tensors in the shape of the weights that `batched` holds at once
OF_DECISIONS = 12
SPARE = 0.9  # of the free memory; the rest is for buffers of the products


def pick_device() -> str:
    """The device of torch.

    Raises:
        TesseraError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise TesseraError("config key probe.device: cuda, but torch sees no GPU here; allowed: cpu")
    return "cuda"


def free_bytes() -> int:
    """Of the GPU's memory, what a fit may take."""
    torch.cuda.empty_cache()
    return int(SPARE * torch.cuda.mem_get_info()[0])


@dataclass
class Size:
    """Of a fold: entries of its features, examples, columns; rows of weights for each penalty."""

    entries: int
    examples: int
    columns: int
    rows: int
    sparse: bool

    @classmethod
    def of(cls, features_EK: Features, classes: int) -> "Size":
        sparse = sp.issparse(features_EK)
        entries = features_EK.nnz if sparse else features_EK.size
        return cls(entries, *features_EK.shape, rows=1 if classes == 2 else classes, sparse=sparse)

    @property
    def large(self) -> bool:
        return self.entries * self.rows >= LARGE

    @property
    def features(self) -> int:
        """Bytes of the features: of sparse ones values and numbers of columns, there and transposed."""
        return self.entries * (2 * (DOUBLE + 4) if self.sparse else DOUBLE + 4)

    @property
    def penalty(self) -> int:
        """Bytes that each penalty adds."""
        return DOUBLE * self.rows * (OF_WEIGHTS * (self.columns + 1) + OF_DECISIONS * self.examples)


class LogisticOnGpu(ProbeKind):
    """Logistic regression, large fits on a GPU, in batches of as many folds as it holds.

    small: logistic regression on a CPU, where all others stay, bit for bit.
    """

    def __init__(self, small: ProbeKind):
        self.name, self.title, self.small, self.device = small.name, small.title, small, pick_device()

    def candidates(self, penalties: list[float]) -> list[float]:
        return self.small.candidates(penalties)

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> LinearProbe:
        chosen_EK = columns_of(train_EK, columns_K)
        if not Size.of(chosen_EK, len(names)).large:
            return self.small.fit(train_EK, label_E, names, candidate, columns_K, seed)
        weights_FGCK, converged_FG = self._solve([chosen_EK], [label_E], names, [candidate])
        weights_CK, converged = weights_FGCK[0, 0], bool(converged_FG[0, 0])
        about = {"C": candidate, "converged": converged, "columns_K": columns_K}
        return LinearProbe.of(names, weights_CK[:, :-1], weights_CK[:, -1], **about)

    def predictions(self, folds, names, candidates, seed) -> Iterator[tuple]:
        folds = iter(folds)
        for fold, columns_K in folds:
            size = Size.of(columns_of(fold.inside_EK, columns_K), len(names))
            if not size.large:
                yield fold, self.small.fold_predictions(fold, names, candidates, columns_K, seed)
                continue
            at_once = max(1, free_bytes() // (size.features + len(candidates) * size.penalty))
            batch = [(fold, columns_K), *islice(folds, at_once - 1)]
            inside_FEK = [columns_of(one.inside_EK, columns_K) for one, columns_K in batch]
            weights_FGCK, _ = self._solve(inside_FEK, [one.label_E for one, _ in batch], names, candidates)
            for (one, columns_K), inside_EK, weights_GCK in zip(batch, inside_FEK, weights_FGCK, strict=True):
                size = inside_EK.shape[1]
                probes = (LinearProbe(classes=names, weights_CK=w[:, :size], intercept_C=w[:, -1]) for w in weights_GCK)
                outside_EK = columns_of(one.outside_EK, columns_K)
                yield one, [probe.probabilities(outside_EK).argmax(axis=1) for probe in probes]

    def _solve(self, features_FEK, label_FE, names, penalties) -> tuple[np.ndarray, np.ndarray]:
        """As `batched.solve`, with as many penalties at once as memory holds."""
        size, free = Size.of(features_FEK[0], len(names)), free_bytes()
        at_once = (free // len(features_FEK) - size.features) // size.penalty
        if at_once < 1:
            raise TesseraError(
                f"config key probe.device: cuda, but a fit on {size.examples} × {size.columns} features needs "
                f"{(size.features + size.penalty) / 2**30:.1f} GiB of a GPU with {free / 2**30:.1f} free; use cpu"
            )
        found = [
            batched.solve(features_FEK, label_FE, len(names), penalties[start : start + at_once], self.device)
            for start in range(0, len(penalties), at_once)
        ]
        weights_FGCK, converged_FG = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return weights_FGCK, converged_FG
