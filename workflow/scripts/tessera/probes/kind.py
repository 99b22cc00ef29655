"""What a kind of probe is: how it is fitted, and what cross-validation chooses of it.

A kind is one file of this package and one entry of `registry.py`. Rules, paths, contestants and claims follow. Whoever
plans a study asks these classes too, so a kind imports what it fits with where it fits.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tessera.features.kind import Kind
from tessera.features.spaces import Features, Space
from tessera.probes.fitted import Probe

Candidate = float | dict | None  # a penalty C; settings by their names; nothing to choose


@dataclass
class Fold:
    """The training examples that a fold fits on and those that it holds out, in the space fitted on the former.

    scale_K: what that space divided the columns by (`Space.scale_K`).
    """

    inside_EK: Features
    label_E: np.ndarray
    outside_EK: Features
    outside_label_E: np.ndarray
    scale_K: np.ndarray | None = None


class ProbeKind(ABC):
    """One kind of probe.

    name: in paths, in the column `probe`, and under `probes` in the config. title: behind the features' in contestants.
    kinds: the kinds of features that a config can ask for it on; those that it is the probe of apart.
    linear: is its decision a sum over columns, whose weights make a table?
    trees: of one that is made of trees, what these sum: probability, or log odds.
    environment: the file of envs/ that its jobs need; the features' without it.
    memory, minutes: what a job asks a cluster for [MB], [minutes a repeat].
    on_gpu: is it fitted on a GPU where the config asks for one?
    """

    name: str
    title: str
    kinds: tuple[str, ...] = ()
    linear: bool = True
    trees: str | None = None
    environment: str | None = None
    memory: int = 4000
    minutes: int = 60
    on_gpu: bool = False

    def on(self, device: str) -> "ProbeKind":
        """Itself, as it is fitted on a device."""
        return self

    def space(self, kind: Kind, train: Features, pooling: str | None, threshold: str | None) -> Space:
        """The space fitted on training rows in which it reads a kind of features: theirs, where it does not say so."""
        return kind.space(train, pooling, threshold)

    def candidates(self, penalties: list[float]) -> list[Candidate]:
        """What cross-validation chooses among, of equals the first; `penalties` are the study's C, ascending."""
        return [None]

    def setting(self, candidate: Candidate) -> str | None:
        """What the column `setting` says of a candidate: its settings by their names, where it has some."""
        return (
            ", ".join(f"{name} {value}" for name, value in candidate.items()) if isinstance(candidate, dict) else None
        )

    def candidate(self, setting: str) -> Candidate:
        """The candidate of which `setting` says that."""
        return next(one for one in self.candidates([]) if self.setting(one) == setting)

    @abstractmethod
    def fit(
        self,
        train_EK: Features,
        label_E: np.ndarray,
        names: list[str],
        candidate: Candidate,
        columns_K: np.ndarray | None,
        seed: int,
    ) -> Probe:
        """The probe of one candidate.

        Args:
            label_E: class numbers into `names`.
            columns_K: the columns to use, where not all.
            seed: of whatever is drawn.
        """

    def predictions(
        self,
        folds: Iterable[tuple[Fold, np.ndarray | None]],
        names: list[str],
        candidates: list[Candidate],
        seed: int,
    ) -> Iterator[tuple[Fold, list[np.ndarray]]]:
        """Each fold, given with the columns to use of it, and what the candidates say of what it holds out."""
        for fold, columns_K in folds:
            yield fold, self.fold_predictions(fold, names, candidates, columns_K, seed)

    def fold_predictions(
        self,
        fold: Fold,
        names: list[str],
        candidates: list[Candidate],
        columns_K: np.ndarray | None,
        seed: int,
    ) -> list[np.ndarray]:
        """Class numbers [E] that each candidate, fitted on what a fold fits on, says of what it holds out."""
        fits = (self.fit(fold.inside_EK, fold.label_E, names, one, columns_K, seed) for one in candidates)
        return [probe.probabilities(fold.outside_EK).argmax(axis=1) for probe in fits]
