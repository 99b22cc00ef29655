"""Forward passes of a model with something taken out: its later hidden states, and how its predictions change."""

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tessera.activations.shards import check_finite, pool_hidden
from tessera.base.errors import TesseraError
from tessera.base.files import parquet_writer
from tessera.interventions.ablation import Ablation, Latents
from tessera.models.forward import BATCH_TOKENS, Batch, Change, changed, forward, in_batches
from tessera.models.text import Inputs, TextModel, Tokens, contents
from tessera.study import paths

logger = logging.getLogger("tessera")


def take_out(
    model: TextModel,
    latents: Latents,
    examples: pl.DataFrame,
    ablations: dict[str, Ablation],
    layers: list[int],
    out: Path,
    *,
    max_tokens: int,
    pool_massive: bool = False,
    batch_tokens: int | None = None,
) -> None:
    """Write into the folder `out`, of every named ablation and layer, hidden/set=S/layer=L.parquet, a row per example.

    These are the pooled residual streams after the blocks `layers` of `examples` (columns example, and text or image)
    in a pass that takes the ablation out where the SAE of `latents` reads. The tokens are those pooled there without
    it: content, and not massive unless `pool_massive`.

    Raises:
        TesseraError: a layer lies before that place.
    """
    if min(layers) < latents.place[0]:
        raise TesseraError(f"layer {min(layers)} lies before layer {latents.place[0]}, where something is taken out")
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    numbers = examples["example"].to_numpy()
    changes = {name: latents.change(ablation, pool_massive) for name, ablation in ablations.items()}
    for name, change in changes.items():
        logger.info("without %s", name)
        files = {layer: out / paths.ABLATED.format(set=name, layer=layer) for layer in layers}
        _write_hidden(model, tokens, numbers, change, files, batch_tokens)


def _write_hidden(
    model: TextModel, tokens: Tokens, numbers: np.ndarray, change: Change, files: dict[int, Path], budget: int | None
) -> None:
    def compute(batch: Batch) -> dict[int, pa.Table]:
        return {layer: _hidden(batch, layer, change.of.pooled_BT, numbers) for layer in files}

    writers: dict[int, pq.ParquetWriter] = {}
    with ExitStack() as stack:
        for tables in forward(model, tokens, dict.fromkeys(files, "resid_post"), compute, budget, change):
            for layer, table in tables.items():
                if layer not in writers:
                    writers[layer] = stack.enter_context(parquet_writer(files[layer], table.schema))
                writers[layer].write_table(table)


def _hidden(batch: Batch, layer: int, pooled_BT: np.ndarray, numbers: np.ndarray) -> pa.Table:
    state_BTD, examples_B = batch.states[layer], numbers[batch.examples]
    state_ND = state_BTD[torch.from_numpy(pooled_BT).to(state_BTD.device)].float()
    end_BD = state_BTD[torch.arange(len(examples_B)), torch.from_numpy(batch.last_B)].float()
    check_finite(state_ND, pooled_BT, examples_B, layer)
    check_finite(end_BD, np.arange(state_BTD.shape[1]) == batch.last_B[:, None], examples_B, layer)
    return pool_hidden(state_ND, pooled_BT.sum(axis=1), end_BD, examples_B)


@torch.inference_mode()
def divergence(
    model: TextModel,
    latents: Latents,
    texts: list[str],
    ablations: dict[str, Ablation],
    *,
    max_tokens: int,
    pool_massive: bool = False,
    batch_tokens: int | None = None,
) -> pl.DataFrame:
    """How far a causal model's predictions move: a row per ablation, set, texts, tokens and kl.

    kl: KL(plain ‖ ablated) of the next token in nats, the mean over the `tokens` content tokens of the texts.

    Raises:
        TesseraError: the model has no head, or a prediction is not finite.
    """
    changes = [latents.change(ablation, pool_massive) for ablation in ablations.values()]
    tokens = model.read(texts, max_tokens=max_tokens)

    def work(examples: np.ndarray) -> list[float]:
        inputs = model.inputs(tokens, examples)
        plain_BTV = _logits(model, inputs, None)
        return [_sum_of_kl(plain_BTV, _logits(model, inputs, change), inputs.content_BT) for change in changes]

    sums_S = np.sum([*in_batches(tokens.padded_E, batch_tokens or BATCH_TOKENS[model.device.type], work)], axis=0)
    if not np.isfinite(sums_S).all():
        raise TesseraError("a prediction is not finite; set dtype: float32 for this model")
    number = int(tokens.content_counts_E.sum())
    return pl.DataFrame({"set": [*ablations], "texts": len(texts), "tokens": number, "kl": sums_S / number})


def _logits(model: TextModel, inputs: Inputs, change: Change | None) -> torch.Tensor:
    with changed(model, change, inputs.content_BT):
        output = model.module(**inputs.arguments)
    if not hasattr(output, "logits"):
        raise TesseraError(f"{type(model.module).__name__} has no head that predicts tokens; load it as a causal model")
    return output.logits


def _sum_of_kl(plain_BTV: torch.Tensor, ablated_BTV: torch.Tensor, content_BT: np.ndarray) -> float:
    """Text by text: in float32, a batch of a large vocabulary takes several GiB."""
    total = 0.0
    for plain_TV, ablated_TV, content_T in zip(plain_BTV, ablated_BTV, torch.from_numpy(content_BT), strict=True):
        content_T = content_T.to(plain_TV.device)
        log_p_NV, log_q_NV = (part_TV[content_T].float().log_softmax(dim=1) for part_TV in (plain_TV, ablated_TV))
        total += torch.nn.functional.kl_div(log_q_NV, log_p_NV, reduction="sum", log_target=True).item()
    return total
