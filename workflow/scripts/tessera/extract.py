"""The activations stage: one forward pass feeds every layer and every SAE, and writes sparse shards."""

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tessera.errors import TesseraError
from tessera.forward import Batch, forward
from tessera.io import atomic, parquet_writer
from tessera.models import TextModel, contents
from tessera.sae import Encoder, Scratch, SparseActivations, load_encoder

logger = logging.getLogger("tessera")

HIDDEN_POOLINGS = ("sum", "max", "last")  # mean is sum / tokens
FLOAT16_MAX, FLOAT32_MAX, FLOAT16_TINY = 65504.0, np.finfo(np.float32).max, np.float16(2**-24)
WRITER_THREADS = 4


def latents_schema(activation: pa.DataType) -> pa.Schema:
    """One row per content token."""
    return pa.schema(
        {
            "example": pa.uint32(),
            "position": pa.uint32(),
            "token_id": pa.uint32(),
            "latent": pa.list_(pa.uint32()),
            "activation": pa.list_(activation),
        }
    )


def hidden_schema(d: int) -> pa.Schema:
    """One row per example: the pooled hidden states [d] and the number of content tokens."""
    pooled = {pooling: pa.list_(pa.float32(), d) for pooling in HIDDEN_POOLINGS}
    return pa.schema({"example": pa.uint32(), "tokens": pa.uint32(), **pooled})


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
            _check_finite(state_ND, batch, numbers[batch.examples], layer)
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


def token_rows(batch: Batch, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Example, position and token id of each content token of a batch, example by example."""
    row, column = np.nonzero(batch.content_BT)
    position = column if batch.position_BT is None else batch.position_BT[row, column]
    return {
        "example": numbers[batch.examples[row]].astype(np.uint32),
        "position": position.astype(np.uint32),
        "token_id": batch.ids_BT[row, column].astype(np.uint32),
    }


def token_table(
    rows: dict[str, np.ndarray], sparse: SparseActivations, activation: pa.DataType, cell: tuple
) -> pa.Table:
    """Sparse activations as rows of a latents shard.

    Raises:
        TesseraError: float16 cannot hold a value, or one is not finite.
    """
    offsets = np.concatenate([[0], np.cumsum(sparse.counts_N)]).astype(np.int32)
    values, limit = sparse.values, FLOAT16_MAX if pa.types.is_float16(activation) else FLOAT32_MAX
    if not (np.abs(values) <= limit).all():
        bad = int(np.argmin(np.abs(values) <= limit))
        example = rows["example"][np.searchsorted(offsets, bad, side="right") - 1]
        raise TesseraError(
            f"layer {cell[0]} width {cell[1]}: example {example} has an activation of {values[bad]:.0f}, which "
            + (
                "float16 cannot hold; set activation_dtype: float32 for this model"
                if np.isfinite(values[bad])
                else "is not finite; set dtype: float32 for this model"
            )
        )
    if pa.types.is_float16(activation):
        values = values.astype(np.float16)
        lost = values == 0  # what is active stays active
        values[lost] = np.copysign(FLOAT16_TINY, sparse.values[lost])
    return pa.table(
        [
            *(pa.array(column) for column in rows.values()),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(sparse.latents)),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
        ],
        schema=latents_schema(activation),
    )


def pool_hidden(state_ND: torch.Tensor, batch: Batch, numbers: np.ndarray) -> pa.Table:
    """Sum, max and last of the content tokens' hidden states, a row per example of the batch."""
    counts_B = torch.from_numpy(batch.content_BT.sum(axis=1))
    lengths_B = counts_B.to(state_ND.device)
    pooled = {
        "sum": torch.segment_reduce(state_ND, "sum", lengths=lengths_B),
        "max": torch.segment_reduce(state_ND, "max", lengths=lengths_B),
        "last": state_ND[lengths_B.cumsum(0) - 1],
    }
    d = state_ND.shape[1]
    columns = [pa.array(numbers[batch.examples], pa.uint32()), pa.array(counts_B.numpy(), pa.uint32())]
    for pooling in HIDDEN_POOLINGS:
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(pooled[pooling].cpu().numpy().ravel()), d))
    return pa.table(columns, schema=hidden_schema(d))


def _check_finite(state_ND: torch.Tensor, batch: Batch, examples_B: np.ndarray, layer: int) -> None:
    finite_N = torch.isfinite(state_ND).all(dim=1)
    if finite_N.all():
        return
    row, position = (found[int((~finite_N).nonzero()[0])] for found in np.nonzero(batch.content_BT))
    raise TesseraError(
        f"layer {layer}: example {examples_B[row]} has a hidden state that is not finite at position {position}; "
        f"set dtype: float32 for this model"
    )


def cache_residuals(
    model: TextModel,
    texts: list[str] | list[bytes],
    hooks: dict[int, str],
    out: Path,
    *,
    max_tokens: int,
    budget: int,
    prepend_bos: bool = False,
) -> None:
    """Cache the content tokens' activations at `hooks` (layer → hook), to train SAEs on: `layer=L.npy`, float32 [N, d].

    Texts (or images) are read in the given order until `budget` content tokens are there.
    """
    tokens = model.read(texts, max_tokens=max_tokens, prepend_bos=prepend_bos)
    ends = np.cumsum(tokens.content_counts_E)
    used = int(np.searchsorted(ends, budget)) + 1
    tokens, ends = tokens.first(used), ends[:used]

    def compute(batch: Batch) -> tuple[Batch, dict[int, np.ndarray]]:
        content_BT = torch.from_numpy(batch.content_BT).to(model.device)
        states = {layer: state[content_BT].float().cpu() for layer, state in batch.states.items()}
        for layer, state_ND in states.items():
            _check_finite(state_ND, batch, batch.examples, layer)
        return batch, {layer: state_ND.numpy() for layer, state_ND in states.items()}

    with atomic(out) as part:
        part.mkdir()
        arrays: dict[int, np.memmap] = {}
        for batch, states in forward(model, tokens, hooks, compute):
            counts_B = batch.content_BT.sum(axis=1)
            row = np.repeat(np.arange(len(counts_B)), counts_B)
            place_N = (ends[batch.examples] - np.cumsum(counts_B))[row] + np.arange(len(row))
            for layer, state_ND in states.items():
                if layer not in arrays:
                    shape = (int(ends[-1]), state_ND.shape[1])
                    file = part / f"layer={layer}.npy"
                    arrays[layer] = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                    with file.open("r+b") as allocated:  # a full disk is an error here, and a bus error later
                        os.posix_fallocate(allocated.fileno(), 0, file.stat().st_size)
                arrays[layer][place_N] = state_ND
        for array in arrays.values():
            array.flush()
    logger.info("cached %d content tokens of %d examples", int(ends[-1]), len(tokens.ids))
