"""Cache a model's activations on unlabelled texts, to train SAEs on."""

import logging
import os
from pathlib import Path

import numpy as np
import torch

from tessera.activations.shards import check_finite
from tessera.base.files import atomic
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel

logger = logging.getLogger("tessera")


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
            check_finite(state_ND, batch, batch.examples, layer)
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
