"""SAE latents, pooled over the content tokens, kept as they are or held against a threshold."""

from collections.abc import Iterable, Iterator

import scipy.sparse as sp

from tessera.base import hive
from tessera.features.kind import Kind, Stored
from tessera.features.pooling import read_features
from tessera.features.spaces import Thresholding
from tessera.study import paths
from tessera.study.grid import parse_width
from tessera.study.study import Study


class Latents(Kind):
    name = "sae"
    title = "SAE"
    of_control = "random SAE"
    place = ("model", "layer", "width")
    axes = ("pooling", "threshold", "selection")
    latents = True

    def values(self, study: Study) -> dict[str, list[str]]:
        return {axis: study.grid[f"{axis}s"] for axis in self.axes}

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        for cell in study.sae_cells():
            yield {axis: cell[axis] for axis in self.place}

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        return [paths.FEATURES.format(data=data, pooling=pooling, **place) for pooling in study.grid["poolings"]]

    def load(self, stored: Stored, pooling: str | None) -> sp.csr_array:
        return read_features(hive.one(stored.files, pooling=pooling), parse_width(stored.place["width"]))

    def space(self, train: sp.csr_array, pooling: str | None, threshold: str | None) -> Thresholding:
        return Thresholding.fit(train, threshold)
