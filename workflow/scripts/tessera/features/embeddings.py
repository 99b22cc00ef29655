"""Sentence embeddings: the one vector that a sentence encoder makes of a text, standardised."""

from collections.abc import Iterable, Iterator

import numpy as np

from tessera.base.files import read_parquet
from tessera.features.kind import Kind, Stored
from tessera.study import draws, paths
from tessera.study.study import Study


class Embeddings(Kind):
    name = "embeddings"
    title = "sentence embeddings"
    of_control = "random embeddings"
    media = ("text",)
    place = ("model",)
    axes = ()

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        """The models that the config names, each draw of a control among them."""
        for model in study.models:
            if draws.split(model)[0] in study.baselines[self.name]:
                yield {"model": model}

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        return [paths.EMBEDDINGS.format(shard=shard, data=data, **place) for shard in shards]

    def load(self, stored: Stored, pooling: str | None) -> np.ndarray:
        return read_embeddings(stored.files)


def read_embeddings(files: list[str]) -> np.ndarray:
    """Embeddings [E, d], float32, examples ascending."""
    tables = [read_parquet(file, ["example", "embedding"]) for file in files]
    example_E = np.concatenate([table["example"].to_numpy() for table in tables])
    parts = [table["embedding"].chunk(0) for table in tables]
    vector_ED = np.concatenate([part.values.to_numpy().reshape(len(part), -1) for part in parts])
    return vector_ED[np.argsort(example_E, kind="stable")]
