"""SAE latents beside the hidden states of their layer, in one matrix: does either tell what the other does not?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.sparse as sp

from tessera.base import hive
from tessera.features.hidden import Hidden
from tessera.features.kind import Kind, Stored
from tessera.features.pooling import BESIDE
from tessera.features.sae import Latents
from tessera.features.spaces import Space, Standardised, Thresholding
from tessera.study.study import Study

LATENTS, HIDDEN = Latents(), Hidden()


@dataclass
class Pair:
    """Latents [E, W] and hidden states [E, d] of the same examples."""

    latents_EW: sp.csr_array
    hidden_ED: np.ndarray

    def __getitem__(self, rows_E: np.ndarray) -> "Pair":
        return Pair(self.latents_EW[rows_E], self.hidden_ED[rows_E])


class Beside(Kind):
    """A pooling of it is one of latents, `_beside_`, and one of hidden states. Of trained models and SAEs alone."""

    name = "beside"
    title = f"{LATENTS.title} beside {HIDDEN.title}"
    place = LATENTS.place
    axes = ("pooling", "threshold")
    transfers = False

    def values(self, study: Study) -> dict[str, list[str]]:
        pairs = product(study.grid["poolings"], study.baselines[self.name])
        return {"pooling": [BESIDE.join(pair) for pair in pairs], "threshold": study.grid["thresholds"]}

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        for place in LATENTS.places(study):
            if place["model"] not in study.controls and study.frozen(place["model"], place["width"]) is None:
                yield place

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        layer = {axis: place[axis] for axis in HIDDEN.place}
        return LATENTS.inputs(study, shards, data, **place) + HIDDEN.inputs(study, shards, data, **layer)

    def load(self, stored: Stored, pooling: str | None) -> Pair:
        latents, _, hidden = pooling.partition(BESIDE)
        shards = [file for file in stored.files if "shard" in hive.keys(file)]
        return Pair(LATENTS.load(stored, latents), HIDDEN.load(replace(stored, files=shards), hidden))

    def space(self, train: Pair, pooling: str | None, threshold: str | None) -> "BothSpaces":
        return BothSpaces(train, threshold)


class BothSpaces(Space):
    """The columns of the latents' space, then those of the hidden states', brought to the same total variance.

    One penalty holds for both: standardised, a thousand dimensions would outweigh latents of which few are active, and
    the probe would be that of the hidden states. Kernels that are added are brought to one trace for the same reason
    (Lanckriet et al. 2004, JMLR 5). Both meet at the geometric mean, so that C means about what it means on either.
    Column W + i of the features is dimension i. CSR, since of the two the latents may have a million columns.
    """

    def __init__(self, train: Pair, threshold: str):
        self.latents = Thresholding.fit(train.latents_EW, threshold)
        self.hidden = Standardised(train.hidden_ED)
        variances = np.array([_total_variance(block) for block in self._blocks(train)])
        self.factors = np.sqrt(np.sqrt(variances.prod()) / variances) if variances.all() else np.ones(2)
        width, dims = train.latents_EW.shape[1], train.hidden_ED.shape[1]
        self.tau = self.latents.tau
        self.columns_K = np.append(self.latents.columns_K, width + np.arange(dims))
        scales = self.latents.scale_K / self.factors[0], self.hidden.scaler.scale_ / self.factors[1]
        self.scale_K = np.concatenate(scales).astype(np.float32)

    def _blocks(self, features: Pair) -> tuple[sp.csr_array, np.ndarray]:
        return self.latents.apply(features.latents_EW), self.hidden.apply(features.hidden_ED)

    def apply(self, features: Pair) -> sp.csr_array:
        scaled = [
            sp.csr_array(block * factor) for block, factor in zip(self._blocks(features), self.factors, strict=True)
        ]
        return sp.csr_array(sp.hstack(scaled), dtype=np.float32)


def _total_variance(matrix_EK: sp.csr_array | np.ndarray) -> float:
    """The sum of the columns' variances."""
    mean_K, square_K = (np.asarray(part.mean(axis=0, dtype=np.float64)).ravel() for part in (matrix_EK, matrix_EK**2))
    return float((square_K - mean_K**2).sum())
