"""The activations stage: one forward pass feeds every layer and every SAE, and writes sparse shards."""

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from tessera.errors import TesseraError
from tessera.io import atomic, parquet_writer
from tessera.models import Batch, TextModel, Tokens, residuals, tokenise
from tessera.sae import SparseActivations, load_encoder

logger = logging.getLogger("tessera")

HIDDEN_POOLINGS = ("sum", "max", "last")  # mean is sum / tokens
FLOAT16_MAX, FLOAT16_TINY = 65504.0, np.float16(2**-24)


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


def hidden_schema(d_model: int) -> pa.Schema:
    """One row per example: the pooled residual stream and the number of content tokens."""
    pooled = {pooling: pa.list_(pa.float32(), d_model) for pooling in HIDDEN_POOLINGS}
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
    batch_tokens: int | None = None,
) -> pl.DataFrame:
    """Write the folder `out` for one shard of `examples` (columns example, text).

    latents/layer=L/width=W.parquet: a row per content token; hidden/layer=L.parquet: a row per example.

    Returns a row per layer and width (null for the hidden states): examples, truncated ones, tokens, nonzeros.
    """
    tokens = tokenise(model, examples["text"].to_list(), max_tokens, prepend_bos=prepend_bos)
    numbers = examples["example"].to_numpy()
    encoders = {cell: load_encoder(path, model.device) for cell, path in saes.items()}
    for (layer, width), encoder in encoders.items():
        if encoder.W_enc.shape[0] != model.d_model:
            raise TesseraError(
                f"the SAE of layer {layer} width {width} reads {encoder.W_enc.shape[0]} dimensions, "
                f"the model has {model.d_model}"
            )
    activation = pa.float16() if activation_dtype == "float16" else pa.float32()
    nonzeros = dict.fromkeys(encoders, 0)
    with atomic(out) as part, ExitStack() as stack:
        part.mkdir()
        latents = {
            (layer, width): stack.enter_context(
                parquet_writer(part / f"latents/layer={layer}/width={width}.parquet", latents_schema(activation))
            )
            for layer, width in encoders
        }
        hidden = {
            layer: stack.enter_context(
                parquet_writer(part / f"hidden/layer={layer}.parquet", hidden_schema(model.d_model))
            )
            for layer in layers
        }
        for batch in residuals(model, tokens, layers, batch_tokens):
            content_BT = torch.from_numpy(batch.content_BT).to(model.device)
            rows = token_rows(batch, numbers)
            for layer in layers:
                residual_BTD = batch.residuals[layer]
                residual_ND = residual_BTD[content_BT].float()
                if not torch.isfinite(residual_ND).all():
                    _not_finite(residual_ND, rows, layer)
                hidden[layer].write_table(pool_hidden(residual_ND, batch, numbers, model.d_model))
                for cell in (cell for cell in encoders if cell[0] == layer):
                    sparse = encoders[cell].encode(residual_ND)
                    nonzeros[cell] += len(sparse.values)
                    latents[cell].write_table(token_table(rows, sparse, activation, cell))
    count = int(tokens.content_counts_E.sum())
    for (layer, width), number in nonzeros.items():
        logger.info("layer %d width %s: L0 %.1f on %d content tokens", layer, width, number / count, count)
    if tokens.truncated.any():
        logger.warning("%d of %d texts cut to %d tokens", tokens.truncated.sum(), len(examples), max_tokens)
    about = {"examples": len(examples), "truncated": int(tokens.truncated.sum()), "tokens": count}
    about |= {"device": model.device.type, "dtype": str(model.module.dtype).removeprefix("torch.")}
    rows = [{"layer": layer, "width": None, **about, "nonzeros": None} for layer in layers]
    rows += [
        {"layer": layer, "width": width, **about, "nonzeros": number} for (layer, width), number in nonzeros.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"width": pl.String, "nonzeros": pl.Int64})


def token_rows(batch: Batch, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Example, position and token id of each content token of a batch, example by example."""
    row, position = np.nonzero(batch.content_BT)
    return {
        "example": numbers[batch.examples[row]].astype(np.uint32),
        "position": position.astype(np.uint32),
        "token_id": batch.ids_BT[row, position].astype(np.uint32),
    }


def token_table(
    rows: dict[str, np.ndarray], sparse: SparseActivations, activation: pa.DataType, cell: tuple
) -> pa.Table:
    """Sparse activations as rows of a latents shard.

    Raises:
        TesseraError: float16 cannot hold a value.
    """
    if pa.types.is_float16(activation) and len(sparse.values) and sparse.values.max() > FLOAT16_MAX:
        raise TesseraError(
            f"layer {cell[0]} width {cell[1]}: activation {sparse.values.max():.0f} exceeds float16; "
            f"set activation_dtype: float32 for this model"
        )
    offsets = pa.array(np.concatenate([[0], np.cumsum(sparse.counts_N)]), pa.int32())
    values = sparse.values
    if pa.types.is_float16(activation):
        values = np.maximum(values.astype(np.float16), FLOAT16_TINY)  # what is active stays active
    return pa.table(
        [
            *(pa.array(column) for column in rows.values()),
            pa.ListArray.from_arrays(offsets, pa.array(sparse.latents)),
            pa.ListArray.from_arrays(offsets, pa.array(values)),
        ],
        schema=latents_schema(activation),
    )


def pool_hidden(residual_ND: torch.Tensor, batch: Batch, numbers: np.ndarray, d_model: int) -> pa.Table:
    """Sum, max and last of the content tokens' residuals, a row per example of the batch."""
    counts_B = torch.from_numpy(batch.content_BT.sum(axis=1))
    segment_N = torch.repeat_interleave(torch.arange(len(counts_B)), counts_B).to(residual_ND.device)
    size = (len(counts_B), residual_ND.shape[1])
    pooled = {
        "sum": residual_ND.new_zeros(size).index_add_(0, segment_N, residual_ND),
        "max": residual_ND.new_zeros(size).scatter_reduce_(
            0, segment_N[:, None].expand_as(residual_ND), residual_ND, "amax", include_self=False
        ),
        "last": residual_ND[(counts_B.cumsum(0) - 1).to(residual_ND.device)],
    }
    columns = [pa.array(numbers[batch.examples], pa.uint32()), pa.array(counts_B.numpy(), pa.uint32())]
    for pooling in HIDDEN_POOLINGS:
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(pooled[pooling].cpu().numpy().ravel()), d_model))
    return pa.table(columns, schema=hidden_schema(d_model))


def _not_finite(residual_ND: torch.Tensor, rows: dict[str, np.ndarray], layer: int) -> None:
    bad = int((~torch.isfinite(residual_ND)).any(dim=1).nonzero()[0])
    raise TesseraError(
        f"layer {layer}: example {rows['example'][bad]} has a residual that is not finite at position "
        f"{rows['position'][bad]}; set dtype: float32 for this model"
    )


def cache_residuals(
    model: TextModel,
    texts: list[str],
    layers: list[int],
    out: Path,
    *,
    max_tokens: int,
    budget: int,
    prepend_bos: bool = False,
) -> None:
    """Cache the content tokens' residuals of `texts`, for training SAEs: `layer=L.npy`, float32 [N, d].

    Texts are read in the given order until `budget` content tokens are there.
    """
    tokens = tokenise(model, texts, max_tokens, prepend_bos=prepend_bos)
    ends = np.cumsum(tokens.content_counts_E)
    used = int(np.searchsorted(ends, budget)) + 1
    tokens = Tokens(tokens.ids[:used], tokens.content[:used], tokens.truncated[:used])
    ends = ends[:used]
    with atomic(out) as part:
        part.mkdir()
        arrays = {
            layer: np.lib.format.open_memmap(
                part / f"layer={layer}.npy", mode="w+", dtype=np.float32, shape=(int(ends[-1]), model.d_model)
            )
            for layer in layers
        }
        for batch in residuals(model, tokens, layers):
            row, _ = np.nonzero(batch.content_BT)
            starts = ends[batch.examples] - batch.content_BT.sum(axis=1)
            first = np.concatenate([[0], np.cumsum(batch.content_BT.sum(axis=1))[:-1]])
            place_N = starts[row] + np.arange(len(row)) - first[row]
            content_BT = torch.from_numpy(batch.content_BT).to(model.device)
            for layer in layers:
                arrays[layer][place_N] = batch.residuals[layer][content_BT].float().cpu().numpy()
        for array in arrays.values():
            array.flush()
    logger.info("cached %d content tokens of %d texts", int(ends[-1]), used)
