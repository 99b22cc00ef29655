"""Logistic regression on a GPU, where it is worth one: imported by jobs that the config gives a GPU, and by no other.

The probes are those of `logistic.py`, as near as its solver comes to the optimum (`batched.py`).
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from tessera.base.errors import TesseraError
from tessera.features.spaces import Features
from tessera.probes import batched
from tessera.probes.fitted import LinearProbe, columns_of
from tessera.probes.kind import ProbeKind

# Entries of the features × rows of weights from which a fit goes to the GPU: below, all fits of a cell take fewer
# than some 10 s of one core (benchmarks/fit.py), about what starting a GPU costs. Reasoned, not measured on a GPU.
LARGE = 2**24
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
    """Of the GPU's memory, what a batch may take."""
    torch.cuda.empty_cache()
    return int(SPARE * torch.cuda.mem_get_info()[0])


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
        if not _is_large(chosen_EK, len(names)):
            return self.small.fit(train_EK, label_E, names, candidate, columns_K, seed)
        ((_, (weights_CK,), (converged,)),) = self._solve([chosen_EK], [label_E], names, [candidate])
        about = {"C": candidate, "converged": bool(converged), "columns_K": columns_K}
        return LinearProbe.of(names, weights_CK[:, :-1], weights_CK[:, -1], **about)

    def predictions(self, folds, names, candidates, seed) -> Iterator[tuple]:
        folds = iter(folds)
        for fold, columns_K in folds:
            inside_EK = columns_of(fold.inside_EK, columns_K)
            if not _is_large(inside_EK, len(names)):
                yield fold, self.small.fold_predictions(fold, names, candidates, columns_K, seed)
                continue
            at_once = free_bytes() // batched.Size.of(inside_EK, len(names)).bytes(len(candidates))
            batch = [(fold, columns_K), *islice(folds, max(1, at_once) - 1)]
            inside_FEK = [columns_of(one.inside_EK, columns_K) for one, columns_K in batch]
            outside_FEK = [columns_of(one.outside_EK, columns_K) for one, columns_K in batch]
            told_FG = [[None] * len(candidates) for _ in batch]
            for penalty, weights_FCK, _ in self._solve(
                inside_FEK, [one.label_E for one, _ in batch], names, candidates
            ):
                for told_G, outside_EK, weights_CK in zip(told_FG, outside_FEK, weights_FCK, strict=True):
                    of_columns_CK = weights_CK[:, : outside_EK.shape[1]]
                    probe = LinearProbe(classes=names, weights_CK=of_columns_CK, intercept_C=weights_CK[:, -1])
                    told_G[penalty] = probe.probabilities(outside_EK).argmax(axis=1)
            yield from zip((one for one, _ in batch), told_FG, strict=True)

    def _solve(
        self, features_FEK: list[Features], label_FE: list[np.ndarray], names: list[str], penalties: list[float]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """As `batched.solve`, with as many penalties at once as the GPU holds."""
        size, free = batched.Size.of(features_FEK[0], len(names)), free_bytes()
        fitting = [n for n in range(1, len(penalties) + 1) if len(features_FEK) * size.bytes(n) <= free]
        if not fitting:
            raise TesseraError(
                f"config key probe.device: cuda, but a fit on {size.examples} × {size.columns} features needs "
                f"{size.bytes(1) / 2**30:.1f} GiB of a GPU with {free / 2**30:.1f} free; use cpu"
            )
        for start in range(0, len(penalties), fitting[-1]):
            some = penalties[start : start + fitting[-1]]
            for penalty, *found in batched.solve(features_FEK, label_FE, len(names), some, self.device):
                yield start + penalty, *found


def _is_large(features_EK: Features, classes: int) -> bool:
    size = batched.Size.of(features_EK, classes)
    return size.entries * size.rows >= LARGE
