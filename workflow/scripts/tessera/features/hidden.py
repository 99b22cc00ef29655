"""Hidden states, pooled over the same tokens as the latents, standardised."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tessera.base.files import read_parquet
from tessera.features.kind import Kind, Stored
from tessera.study import paths
from tessera.study.study import Study


class Hidden(Kind):
    name = "hidden"
    title = "hidden states"
    of_control = "random hidden"
    place = ("model", "layer")

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        for cell in study.layer_cells():
            yield {axis: cell[axis] for axis in self.place}

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        number = study.pass_of(**place)
        here = {"model": place["model"], "data": data, "pass": number}
        return [paths.ACTIVATIONS.format(shard=shard, **here) for shard in shards]

    def load(self, stored: Stored, pooling: str | None) -> np.ndarray:
        name = paths.HIDDEN.format(**stored.place)
        return read_hidden([Path(shard) / name for shard in stored.files], pooling)


def read_hidden(files: list[Path], pooling: str) -> np.ndarray:
    """Pooled hidden states [E, d], float32, examples ascending; `pooling` is sum, mean, max, last or before_answer."""
    column = "sum" if pooling == "mean" else pooling
    tables = [read_parquet(file, ["example", "tokens", column]) for file in files]
    example_E = np.concatenate([table["example"].to_numpy() for table in tables])
    tokens_E = np.concatenate([table["tokens"].to_numpy() for table in tables])
    parts = [table[column].chunk(0) for table in tables]
    hidden_ED = np.concatenate([part.values.to_numpy().reshape(len(part), -1) for part in parts])
    if pooling == "mean":
        hidden_ED = hidden_ED / tokens_E[:, None].astype(np.float32)
    return hidden_ED[np.argsort(example_E, kind="stable")]
