"""Hidden states token by token, for what reads a text's tokens one by one: the layers that a config asks for."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from tessera.activations.appending import appending
from tessera.activations.content import content_of
from tessera.activations.shards import state_table, stored_type, token_rows
from tessera.base.files import atomic
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel, contents
from tessera.study import paths


def write_states(
    model: TextModel,
    examples: pl.DataFrame,
    hooks: dict[int, str],
    out: Path,
    *,
    max_tokens: int,
    activation_dtype: str,
    pool_massive: bool = False,
    batch_tokens: int | None = None,
) -> None:
    """Write the folder `out` for one shard of `examples` (columns example, and text or image).

    layer=L.parquet of each layer of `hooks` (layer → hook): a row per token that an extraction pools there (content,
    and not massive unless `pool_massive`), its state at the hook; a batch is a row group.

    Raises:
        TesseraError: a state is not finite, or float16 cannot hold it.
    """
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    numbers, stored = examples["example"].to_numpy(), stored_type(activation_dtype)

    def compute(batch: Batch) -> dict[int, pa.Table]:
        return {layer: _table(batch, layer, numbers, stored, pool_massive) for layer in hooks}

    with atomic(out) as part, appending(part) as files:
        part.mkdir()
        for tables in forward(model, tokens, hooks, compute, batch_tokens):
            files.wait()
            for layer, table in tables.items():
                files.add(paths.STATES.format(layer=layer), table)


def _table(batch: Batch, layer: int, numbers: np.ndarray, stored: pa.DataType, pool_massive: bool) -> pa.Table:
    content = content_of(batch, layer, numbers[batch.examples], pool_massive)
    rows = token_rows(batch, numbers, content.pooled_BT)
    return state_table(rows, content.state_ND[content.pooled_N], stored, layer)
