"""The one fit: what a kind of probe leaves open is chosen inside the training split, then all of that is fitted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from threadpoolctl import threadpool_limits

from tessera.features.spaces import Features, Space
from tessera.probes.fitted import Probe
from tessera.probes.kind import Candidate, Fold, ProbeKind
from tessera.probes.metrics import confusion_scores
from tessera.probes.registry import LOGISTIC, PROBES
from tessera.probes.selection import Selected
from tessera.probes.verdicts import quantile


@dataclass
class Folds:
    """The folds of the training examples, each in a space of its own: nothing is fitted on what it holds out.

    Made anew whenever they are gone through, so that one alone is in memory.
    """

    train: Features
    label_E: np.ndarray
    fold_E: np.ndarray
    fit_space: Callable[[Features], Space]

    def __iter__(self) -> Iterator[Fold]:
        for fold in np.unique(self.fold_E):
            out_E = self.fold_E == fold
            space = self.fit_space(self.train[~out_E])
            matrices = [space.apply(self.train[rows_E]) for rows_E in (~out_E, out_E)]
            yield Fold(matrices[0], self.label_E[~out_E], matrices[1], self.label_E[out_E], space.scale_K)


def fit_probe(
    train_EK: Features,
    label_E: np.ndarray,
    folds: Iterable[Fold],
    names: list[str],
    penalties: list[float],
    selected: Selected | None = None,
    how: ProbeKind = PROBES[LOGISTIC],
    seed: int = 0,
) -> Probe:
    """Choose by macro F1 over the folds inside the training split (the first of equals), then refit on all of it.

    Args:
        train_EK: training features, CSR or dense float32.
        label_E: class numbers into `names`.
        penalties: values of C.
        selected: the columns to use, where not all; a fold's were chosen without what it holds out.
        how: the kind of probe. seed: of whatever it draws.
    """
    candidates = how.candidates(sorted(penalties))
    columns_F = selected.folds if selected else repeat(None)
    with threadpool_limits(1):
        told = how.predictions(zip(folds, columns_F, strict=False), names, candidates, seed)
        f1_FG = np.array([_scores(fold, predicted_GE) for fold, predicted_GE in told])
    best = int(f1_FG.mean(axis=0).argmax())
    probe = fit_at(train_EK, label_E, names, candidates[best], selected and selected.whole, how, seed)
    at_edge = probe.C is not None and _at_edge(f1_FG, best)
    return replace(probe, C_at_edge=at_edge, cv_macro_f1=float(f1_FG.mean(axis=0)[best]))


def fit_at(
    train_EK: Features,
    label_E: np.ndarray,
    names: list[str],
    candidate: Candidate,
    columns_K: np.ndarray | None = None,
    how: ProbeKind = PROBES[LOGISTIC],
    seed: int = 0,
) -> Probe:
    """The probe at a C, or settings, that are known, of all columns or some: no folds, so no cross-validated score."""
    with threadpool_limits(1):
        return how.fit(train_EK, label_E, names, candidate, columns_K, seed)


def _scores(fold: Fold, predicted_GE: list[np.ndarray]) -> list[float]:
    """Macro F1 of each candidate on what a fold holds out."""
    label_E = fold.outside_label_E
    classes = int(max(fold.label_E.max(), label_E.max())) + 1
    weights_BE = np.ones((1, len(label_E)), dtype=np.float32)
    return [confusion_scores(label_E, predicted_E, classes, weights_BE)[0][0] for predicted_E in predicted_GE]


def _at_edge(f1_FG: np.ndarray, best: int) -> bool:
    """Would a longer grid matter: is the best C at an edge, and better than its neighbour by more than chance?

    By a paired t test over folds, one-sided at .05: where nothing tells the classes apart, any C may come out best.
    """
    last = f1_FG.shape[1] - 1
    if last == 0 or best not in (0, last):
        return False
    above_F = f1_FG[:, best] - f1_FG[:, 1 if best == 0 else last - 1]
    return bool(above_F.mean() > quantile(0.9, len(above_F) - 1) * above_F.std(ddof=1) / np.sqrt(len(above_F)))
