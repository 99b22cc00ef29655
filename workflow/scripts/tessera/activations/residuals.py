"""Cache a model's activations on unlabelled texts, to train SAEs on."""

import logging
import os
from pathlib import Path

import numpy as np

from tessera.activations.content import content_of
from tessera.activations.massive import MASSIVE
from tessera.base.files import atomic
from tessera.models.forward import Batch, forward
from tessera.models.text import TextModel

logger = logging.getLogger("tessera")
COPIED_AT_ONCE = 2**16  # tokens


def cache_residuals(
    model: TextModel,
    texts: list[str] | list[bytes],
    hooks: dict[int, str],
    out: Path,
    *,
    max_tokens: int,
    budget: int,
) -> None:
    """Cache the content tokens' activations at `hooks` (layer → hook), to train SAEs on: `layer=L.npy`, float32 [N, d].

    Texts (or images) are read in the given order until `budget` content tokens are there. Massive ones are left out, as
    an SAE would explain their variance and nothing else: those of their text and, since a token alone in its text is
    its own median, those of all texts together.
    """
    tokens = model.read(texts, max_tokens=max_tokens)
    ends = np.cumsum(tokens.content_counts_E)
    used = int(np.searchsorted(ends, budget)) + 1
    tokens, ends = tokens.first(used), ends[:used]

    def compute(batch: Batch) -> tuple[Batch, dict[int, np.ndarray], dict[int, np.ndarray], dict[int, np.ndarray]]:
        content = {layer: content_of(batch, layer, batch.examples) for layer in batch.states}
        return batch, *(
            {layer: getattr(here, part).cpu().numpy() for layer, here in content.items()}
            for part in ("state_ND", "norm_N", "massive_N")
        )

    with atomic(out) as part:
        part.mkdir()
        arrays: dict[int, np.memmap] = {}
        norm = {layer: np.empty(int(ends[-1]), dtype=np.float32) for layer in hooks}
        for batch, states, norms, massive in forward(model, tokens, hooks, compute):
            counts_B = batch.content_BT.sum(axis=1)
            row = np.repeat(np.arange(len(counts_B)), counts_B)
            place_N = (ends[batch.examples] - np.cumsum(counts_B))[row] + np.arange(len(row))
            for layer, state_ND in states.items():
                if layer not in arrays:
                    arrays[layer] = _array(part / f"layer={layer}.npy", (int(ends[-1]), state_ND.shape[1]))
                arrays[layer][place_N] = state_ND
                norm[layer][place_N] = np.where(massive[layer], np.inf, norms[layer])
        for layer in hooks:
            arrays.pop(layer).flush()
            kept = np.flatnonzero(norm[layer] <= MASSIVE * np.quantile(norm[layer], 0.5, method="lower"))
            _keep(part / f"layer={layer}.npy", kept)
            if len(kept) < ends[-1]:
                logger.warning("layer %d: %d massive tokens of %d left out", layer, ends[-1] - len(kept), ends[-1])
    logger.info("read %d content tokens of %d examples", int(ends[-1]), len(tokens.ids))


def _array(file: Path, shape: tuple[int, int]) -> np.memmap:
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    with file.open("r+b") as allocated:  # a full disk is an error here, and a bus error later
        os.posix_fallocate(allocated.fileno(), 0, file.stat().st_size)
    return array


def _keep(file: Path, rows: np.ndarray) -> None:
    """Leave only some rows of an array, which may be larger than memory, in its file."""
    all_ND = np.load(file, mmap_mode="r")
    if len(rows) == len(all_ND):
        return
    with atomic(file) as part:
        kept_ND = _array(part, (len(rows), all_ND.shape[1]))
        for start in range(0, len(rows), COPIED_AT_ONCE):
            kept_ND[start : start + COPIED_AT_ONCE] = all_ND[rows[start : start + COPIED_AT_ONCE]]
        kept_ND.flush()
