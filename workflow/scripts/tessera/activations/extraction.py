"""The activations stage: one forward pass feeds every layer and every SAE, and writes sparse shards."""

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from tessera.activations.appending import appending
from tessera.activations.content import content_of
from tessera.activations.norms import Norms
from tessera.activations.shards import check_finite, pool_hidden, stored_type, token_rows, token_table, tokens_tables
from tessera.base.errors import TesseraError
from tessera.base.files import atomic, write_parts
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel, contents
from tessera.saes.encoders import Encoder, Scratch, SparseActivations, load_encoder
from tessera.study import paths

logger = logging.getLogger("tessera")


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
    read = {cell: encoder.config["hook"] for cell, encoder in encoders.items()}
    hooks = {layer: hook_of(layer, read, hook) for layer in layers}
    activation = stored_type(activation_dtype)
    norms = {layer: Norms() for layer in layers}

    def compute(batch: Batch) -> tuple[Batch, dict[int, _Layer]]:
        found = {layer: _of_layer(batch, layer, numbers, encoders, pool_massive) for layer in layers}
        batch.states.clear()
        return batch, found

    pooled, nonzeros = dict.fromkeys(layers, 0), dict.fromkeys(encoders, 0)

    with atomic(out) as part, appending(part) as files:
        part.mkdir()
        write_parts(part / paths.TOKENS, tokens_tables(tokens, numbers))
        for batch, found in forward(model, tokens, hooks, compute, batch_tokens):
            ends = token_rows(batch, numbers, np.arange(batch.content_BT.shape[1]) == batch.last_B[:, None])
            files.wait()
            for layer, here in found.items():
                rows = token_rows(batch, numbers, here.pooled_BT)
                pooled[layer] += int(here.pooled_BT.sum())
                norms[layer].add(here.norm_N, here.massive_N, batch.content_BT.sum(axis=1))
                files.add(paths.HIDDEN.format(layer=layer), here.hidden)
                for cell, active in here.tokens.items():
                    nonzeros[cell] += len(active.values)
                    files.add(_file(paths.LATENTS, cell), partial(token_table, rows, active, activation, cell))
                for cell, active in here.ends.items():  # an end may be massive, and there are few
                    files.add(_file(paths.BEFORE_ANSWER, cell), partial(token_table, ends, active, pa.float32(), cell))
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
    content = content_of(batch, layer, examples_B, pool_massive)
    end_BD = state_BTD[torch.arange(len(examples_B)), torch.from_numpy(batch.last_B)].float()
    check_finite(end_BD, np.arange(state_BTD.shape[1]) == batch.last_B[:, None], examples_B, layer)
    both_MD = torch.cat([content.state_ND[content.pooled_N], end_BD])  # one product for tokens and ends
    pooled_MD = both_MD[: -len(end_BD)]
    hidden = pool_hidden(pooled_MD, content.pooled_BT.sum(axis=1), end_BD, examples_B)
    found = _Layer(content.norm_N.cpu().numpy(), content.massive_N.cpu().numpy(), content.pooled_BT, hidden)
    for cell, encoder in encoders.items():
        if cell[0] == layer:
            _check_size(pooled_MD, encoder, cell)
            if encoder.reads_neighbours:
                found.tokens[cell] = encoder.encode(content.state_ND, counts_B).only(content.pooled_N.cpu().numpy())
            else:
                found.tokens[cell], found.ends[cell] = encoder.encode(both_MD).split(len(pooled_MD))
    return found


def hook_of(layer: int, read: dict[tuple[int, str], str], hook: str | None) -> str:
    """What the SAEs of a layer read: one place, so that hidden states and SAEs are compared on the same activations.

    Args:
        read: layer and width → the hook of its SAE.
        hook: the config's, of layers without an SAE.
    """
    found = {one for (of, _), one in read.items() if of == layer} or {hook or "resid_post"}
    if len(found) > 1:
        raise TesseraError(
            f"layer {layer}: its SAEs read different hooks ({', '.join(sorted(found))}); give each hook a model entry "
            f"of its own"
        )
    return found.pop()


def _file(pattern: str, cell: tuple[int, str]) -> str:
    return pattern.format(layer=cell[0], width=cell[1])


def _check_size(state_ND: torch.Tensor, encoder: Encoder, cell: tuple[int, str]) -> None:
    if state_ND.shape[1] != encoder.d_in:
        raise TesseraError(
            f"the SAE of layer {cell[0]} width {cell[1]} reads {encoder.d_in} dimensions, the model has "
            f"{state_ND.shape[1]} there ({encoder.config['hook']})"
        )
