"""The activations stage: one forward pass feeds every layer and every SAE, and writes sparse shards."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tessera.activations.shards import check_finite, pool_hidden, token_rows, token_table
from tessera.base.errors import TesseraError
from tessera.base.files import atomic, parquet_writer
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel, contents
from tessera.saes.encoders import Encoder, Scratch, SparseActivations, load_encoder

logger = logging.getLogger("tessera")
WRITER_THREADS = 4


def extract(
    model: TextModel,
    examples: pl.DataFrame,
    saes: dict[tuple[int, str], Path],
    layers: list[int],
    out: Path,
    *,
    max_tokens: int,
    activation_dtype: str,
    prepend_bos: bool = False,
    hook: str | None = None,
    batch_tokens: int | None = None,
) -> pl.DataFrame:
    """Write the folder `out` for one shard of `examples` (columns example, and text or image).

    latents/layer=L/width=W.parquet: a row per content token; hidden/layer=L.parquet: a row per example, pooled from
    what the layer's SAEs read (without SAEs: from `hook`, or the residual stream after the block).

    Returns a row per layer and width (null for the hidden states): examples, truncated ones, tokens, nonzeros.
    """
    tokens = model.read(contents(examples), max_tokens=max_tokens, prepend_bos=prepend_bos)
    numbers = examples["example"].to_numpy()
    # The product in the model's own precision: bfloat16 on a GPU, where float32 would cost several times as much.
    matmul = torch.bfloat16 if model.module.dtype == torch.bfloat16 else torch.float32
    scratch = Scratch(model.device, matmul)
    encoders = {cell: load_encoder(path, scratch) for cell, path in saes.items()}
    hooks = {layer: _hook_of(layer, encoders, hook) for layer in layers}
    activation = pa.float16() if activation_dtype == "float16" else pa.float32()

    def compute(batch: Batch) -> tuple[Batch, dict[int, pa.Table], dict[tuple, SparseActivations]]:
        """All that leaves the device: pooled hidden states and sparse activations."""
        content_BT = torch.from_numpy(batch.content_BT).to(model.device)
        hidden, sparse = {}, {}
        for layer in layers:
            state_ND = batch.states[layer][content_BT].float()
            check_finite(state_ND, batch, numbers[batch.examples], layer)
            hidden[layer] = pool_hidden(state_ND, batch, numbers)
            for cell in (cell for cell in encoders if cell[0] == layer):
                _check_size(state_ND, encoders[cell], cell)
                sparse[cell] = encoders[cell].encode(state_ND, batch.content_BT.sum(axis=1))
        batch.states.clear()
        return batch, hidden, sparse

    nonzeros = dict.fromkeys(encoders, 0)
    writers: dict[Path, pq.ParquetWriter] = {}

    def append(file: Path, table: pa.Table) -> None:
        if file not in writers:
            writers[file] = stack.enter_context(parquet_writer(file, table.schema))
        writers[file].write_table(table)

    def append_latents(cell: tuple, rows: dict[str, np.ndarray], found: SparseActivations) -> None:
        file = part / f"latents/layer={cell[0]}/width={cell[1]}.parquet"
        append(file, token_table(rows, found, activation, cell))

    # Threads write a batch while the device computes the next: one row group per file and batch, in order.
    with atomic(out) as part, ExitStack() as stack, ThreadPoolExecutor(WRITER_THREADS) as pool:
        part.mkdir()
        pending: list[Future] = []
        for batch, hidden, sparse in forward(model, tokens, hooks, compute, batch_tokens):
            rows = token_rows(batch, numbers)
            finish(pending)
            pending = [pool.submit(append, part / f"hidden/layer={layer}.parquet", hidden[layer]) for layer in hidden]
            pending += [pool.submit(append_latents, cell, rows, found) for cell, found in sparse.items()]
            for cell, found in sparse.items():
                nonzeros[cell] += len(found.values)
        finish(pending)
    count = int(tokens.content_counts_E.sum())
    for (layer, width), number in nonzeros.items():
        logger.info("layer %d width %s: L0 %.1f on %d content tokens", layer, width, number / count, count)
    if tokens.truncated.any():
        logger.warning("%d of %d texts cut to %d tokens", tokens.truncated.sum(), len(examples), max_tokens)
    about = {"examples": len(examples), "truncated": int(tokens.truncated.sum()), "tokens": count}
    about |= {"device": model.device.type, "dtype": str(model.module.dtype).removeprefix("torch.")}
    rows = [{"layer": layer, "width": None, "hook": hooks[layer], **about, "nonzeros": None} for layer in layers]
    rows += [
        {"layer": cell[0], "width": cell[1], "hook": hooks[cell[0]], **about, "nonzeros": number}
        for cell, number in nonzeros.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"width": pl.String, "nonzeros": pl.Int64})


def finish(pending: list[Future]) -> None:
    """Wait for threads; an error of theirs is raised here."""
    for future in pending:
        future.result()


def _hook_of(layer: int, encoders: dict[tuple[int, str], Encoder], hook: str | None) -> str:
    """What the SAEs of a layer read: one place, so that hidden states and SAEs are compared on the same activations."""
    found = {encoder.config["hook"] for (of, _), encoder in encoders.items() if of == layer} or {hook or "resid_post"}
    if len(found) > 1:
        raise TesseraError(
            f"layer {layer}: its SAEs read different hooks ({', '.join(sorted(found))}); give each hook a model entry "
            f"of its own"
        )
    return found.pop()


def _check_size(state_ND: torch.Tensor, encoder: Encoder, cell: tuple[int, str]) -> None:
    if state_ND.shape[1] != encoder.d_in:
        raise TesseraError(
            f"the SAE of layer {cell[0]} width {cell[1]} reads {encoder.d_in} dimensions, the model has "
            f"{state_ND.shape[1]} there ({encoder.config['hook']})"
        )
