"""Forward passes of a model with an intervention: its later hidden states, and how its predictions of texts move."""

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
from tessera.interventions.acting import acting
from tessera.interventions.kinds import Intervention
from tessera.models.forward import BATCH_TOKENS, CONTENT, Batch, Change, forward, in_batches, predict
from tessera.models.text import Inputs, TextModel, Tokens, contents
from tessera.study import paths

logger = logging.getLogger("tessera")
SUMS = {"tokens": pl.Int64, "kl": pl.Float64, "told": pl.Int64, "surprise": pl.Float64, "plain_surprise": pl.Float64}


def write_states(
    model: TextModel,
    place: tuple[int, str],
    examples: pl.DataFrame,
    interventions: dict[str, Intervention],
    layers: list[int],
    out: Path,
    *,
    max_tokens: int,
    pool_massive: bool = False,
    where: str = CONTENT,
    batch_tokens: int | None = None,
) -> None:
    """Write into the folder `out`, of every named intervention and layer, hidden/set=S/layer=L.parquet.

    A row per example: the pooled residual streams after the blocks `layers` of `examples` (columns example, and text
    or image) in a pass with the intervention at `place` (layer, hook). The tokens are those pooled there without it:
    content, and not massive unless `pool_massive`.

    Raises:
        TesseraError: a layer lies before that place.
    """
    if min(layers) < place[0]:
        raise TesseraError(f"layer {min(layers)} lies before layer {place[0]}, where the state is changed")
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    numbers = examples["example"].to_numpy()
    for name, intervention in interventions.items():
        logger.info("with %s", name)
        change = acting(place, intervention, pool_massive=pool_massive, where=where)
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
def moved(
    model: TextModel,
    texts: list[str],
    changes: dict[str, Change],
    *,
    max_tokens: int,
    batch_tokens: int | None = None,
) -> pl.DataFrame:
    """How a causal model's predictions of texts move: a row per change and text.

    Columns: set (the change), text (its number), tokens (content tokens), kl (KL(plain ‖ changed) of the next token,
    summed over these, in nats), told (content tokens that have one in front), surprise and plain_surprise (−log
    probability of these with the change and without, summed, in nats).

    Raises:
        TesseraError: the model has no head, or a prediction is not finite.
    """
    tokens = model.read(texts, max_tokens=max_tokens)

    def work(batch: np.ndarray) -> list[pl.DataFrame]:
        inputs = model.inputs(tokens, batch)
        plain_BTV = predict(model, inputs.arguments, None, inputs.content_BT).logits
        found = []
        for name, change in changes.items():
            changed_BTV = predict(model, inputs.arguments, change, inputs.content_BT).logits
            sums_BS = _sums(plain_BTV, changed_BTV, inputs)
            about = pl.DataFrame({"set": [name] * len(batch), "text": batch})
            found.append(about.hstack(pl.DataFrame(sums_BS, schema=SUMS, orient="row")))
        return found

    parts = [*in_batches(tokens.padded_E, batch_tokens or BATCH_TOKENS[model.device.type], work)]
    found = pl.concat([one for part in parts for one in part])
    if not found.select(pl.col("kl", "surprise", "plain_surprise").is_finite().all()).row(0) == (True,) * 3:
        raise TesseraError("a prediction is not finite; set dtype: float32 for this model")
    order = pl.DataFrame({"set": [*changes], "order": range(len(changes))})
    return found.join(order, on="set").sort("order", "text").drop("order")


def _sums(plain_BTV: torch.Tensor, changed_BTV: torch.Tensor, inputs: Inputs) -> list[tuple]:
    """Values of SUMS, text by text: in float32, a batch of a large vocabulary takes several GiB."""
    rows = []
    for row, (plain_TV, changed_TV) in enumerate(zip(plain_BTV, changed_BTV, strict=True)):
        content_T = inputs.content_BT[row]
        log_TV, log_of_TV = (part_TV.float().log_softmax(dim=1) for part_TV in (plain_TV, changed_TV))
        at_N = torch.from_numpy(np.flatnonzero(content_T)).to(log_TV.device)
        kl = torch.nn.functional.kl_div(log_of_TV[at_N], log_TV[at_N], reduction="sum", log_target=True).item()
        told_N = np.flatnonzero(content_T[1:])  # predicted by the token in front
        ids_N = torch.from_numpy(inputs.ids_BT[row][told_N + 1]).to(log_TV.device)
        surprise, plain = (-part[told_N, ids_N].sum().item() for part in (log_of_TV, log_TV))
        rows.append((int(content_T.sum()), kl, len(told_N), surprise, plain))
    return rows
