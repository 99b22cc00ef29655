"""The activations stage: one forward pass feeds every layer and every SAE, and writes sparse shards."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tessera.activations.massive import is_massive
from tessera.activations.norms import Norms
from tessera.activations.shards import check_finite, pool_hidden, token_rows, token_table, tokens_tables
from tessera.base.errors import TesseraError
from tessera.base.files import atomic, parquet_writer, write_parts
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel, contents
from tessera.saes.encoders import Encoder, Scratch, SparseActivations, load_encoder
from tessera.study import paths

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
    hook: str | None = None,
    pool_massive: bool = False,
    batch_tokens: int | None = None,
) -> pl.DataFrame:
    """Write the folder `out` for one shard of `examples` (columns example, and text or image).

    tokens.parquet: a row per content token, what it is and where it stands; latents/layer=L/width=W.parquet: a row per
    pooled token (content, and not massive unless `pool_massive`); before_answer/layer=L/width=W.parquet: a row per
    example, its last token; hidden/layer=L.parquet: a row per example, pooled from what the layer's SAEs read (without
    SAEs: from `hook`, or the residual stream after the block).

    Returns a row per layer and width (null for the hidden states): examples, truncated ones, pooled tokens, nonzeros;
    of the hidden states the norms of all content tokens too.
    """
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    numbers = examples["example"].to_numpy()
    # The product in the model's own precision: bfloat16 on a GPU, where float32 would cost several times as much.
    matmul = torch.bfloat16 if model.module.dtype == torch.bfloat16 else torch.float32
    scratch = Scratch(model.device, matmul)
    encoders = {cell: load_encoder(path, scratch) for cell, path in saes.items()}
    hooks = {layer: _hook_of(layer, encoders, hook) for layer in layers}
    activation = pa.float16() if activation_dtype == "float16" else pa.float32()
    norms = {layer: Norms() for layer in layers}

    def compute(batch: Batch) -> tuple[Batch, dict[int, _Layer]]:
        found = {layer: _of_layer(batch, layer, numbers, encoders, pool_massive) for layer in layers}
        batch.states.clear()
        return batch, found

    pooled, nonzeros = dict.fromkeys(layers, 0), dict.fromkeys(encoders, 0)
    writers: dict[Path, pq.ParquetWriter] = {}

    def append(file: str, table: pa.Table) -> None:
        if part / file not in writers:
            writers[part / file] = stack.enter_context(parquet_writer(part / file, table.schema))
        writers[part / file].write_table(table)

    def append_latents(pattern: str, cell: tuple, rows: dict[str, np.ndarray], found: SparseActivations) -> None:
        kind = activation if pattern == paths.LATENTS else pa.float32()  # an end may be massive, and there are few
        append(pattern.format(layer=cell[0], width=cell[1]), token_table(rows, found, kind, cell))

    # Threads write a batch while the device computes the next: one row group per file and batch, in order.
    with atomic(out) as part, ExitStack() as stack, ThreadPoolExecutor(WRITER_THREADS) as pool:
        part.mkdir()
        write_parts(part / paths.TOKENS, tokens_tables(tokens, numbers))
        pending: list[Future] = []
        for batch, found in forward(model, tokens, hooks, compute, batch_tokens):
            ends = token_rows(batch, numbers, np.arange(batch.content_BT.shape[1]) == batch.last_B[:, None])
            finish(pending)
            pending = []
            for layer, here in found.items():
                rows = token_rows(batch, numbers, here.pooled_BT)
                pooled[layer] += int(here.pooled_BT.sum())
                norms[layer].add(here.norm_N, here.massive_N, batch.content_BT.sum(axis=1))
                pending.append(pool.submit(append, paths.HIDDEN.format(layer=layer), here.hidden))
                for cell, active in here.tokens.items():
                    nonzeros[cell] += len(active.values)
                    pending.append(pool.submit(append_latents, paths.LATENTS, cell, rows, active))
                for cell, active in here.ends.items():
                    pending.append(pool.submit(append_latents, paths.BEFORE_ANSWER, cell, ends, active))
        finish(pending)
    for (layer, width), number in nonzeros.items():
        logger.info("layer %d width %s: L0 %.1f on %d tokens", layer, width, number / pooled[layer], pooled[layer])
    if tokens.truncated.any():
        logger.warning("%d of %d texts cut to %d tokens", tokens.truncated.sum(), len(examples), max_tokens)
    about = {"examples": len(examples), "truncated": int(tokens.truncated.sum())}
    about |= {"device": model.device.type, "dtype": str(model.module.dtype).removeprefix("torch.")}
    of = {layer: {"hook": hooks[layer], **about, "tokens": pooled[layer]} for layer in layers}
    rows = [{"layer": layer, "width": None, **of[layer], "nonzeros": None, **norms[layer].row()} for layer in layers]
    rows += [{"layer": cell[0], "width": cell[1], **of[cell[0]], "nonzeros": found} for cell, found in nonzeros.items()]
    return pl.DataFrame(rows, schema_overrides={"width": pl.String, "nonzeros": pl.Int64})


@dataclass
class _Layer:
    """What of a batch leaves the device, of one layer.

    norm_N, massive_N: of the content tokens. pooled_BT: the tokens that are pooled. tokens, ends: (layer, width) →
    activations of these, and of each example's last token (not of an SAE that reads a token's neighbours).
    """

    norm_N: np.ndarray
    massive_N: np.ndarray
    pooled_BT: np.ndarray
    hidden: pa.Table
    tokens: dict[tuple, SparseActivations] = field(default_factory=dict)
    ends: dict[tuple, SparseActivations] = field(default_factory=dict)


def _of_layer(batch: Batch, layer: int, numbers: np.ndarray, encoders: dict, pool_massive: bool) -> _Layer:
    state_BTD, examples_B, counts_B = batch.states[layer], numbers[batch.examples], batch.content_BT.sum(axis=1)
    state_ND = state_BTD[torch.from_numpy(batch.content_BT).to(state_BTD.device)].float()
    end_BD = state_BTD[torch.arange(len(examples_B)), torch.from_numpy(batch.last_B)].float()
    check_finite(state_ND, batch.content_BT, examples_B, layer)
    check_finite(end_BD, np.arange(state_BTD.shape[1]) == batch.last_B[:, None], examples_B, layer)
    norm_N = torch.linalg.vector_norm(state_ND, dim=1)
    massive = is_massive(norm_N, counts_B)
    pooled = torch.ones_like(massive) if pool_massive else ~massive
    pooled_N, pooled_BT = pooled.cpu().numpy(), batch.content_BT.copy()
    pooled_BT[batch.content_BT] = pooled_N
    both_MD = torch.cat([state_ND[pooled], end_BD])  # one product for tokens and ends
    pooled_MD = both_MD[: -len(end_BD)]
    hidden = pool_hidden(pooled_MD, pooled_BT.sum(axis=1), end_BD, examples_B)
    found = _Layer(norm_N.cpu().numpy(), massive.cpu().numpy(), pooled_BT, hidden)
    for cell, encoder in encoders.items():
        if cell[0] == layer:
            _check_size(state_ND, encoder, cell)
            if encoder.reads_neighbours:
                found.tokens[cell] = encoder.encode(state_ND, counts_B).only(pooled_N)
            else:
                found.tokens[cell], found.ends[cell] = encoder.encode(both_MD).split(len(pooled_MD))
    return found


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
