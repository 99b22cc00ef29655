"""The rows of a shard: its content tokens, sparse latents per pooled token, pooled hidden states per example."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch

from tessera.base.arrow import to_arrow
from tessera.base.errors import TesseraError
from tessera.models.forward import Batch
from tessera.models.text import Tokens
from tessera.saes.encoders import SparseActivations
from tessera.study.grid import BEFORE_ANSWER

HIDDEN_POOLINGS = ("sum", "max", "last", BEFORE_ANSWER)  # mean is sum / tokens
TOKENS_TOGETHER = 200_000  # to a row group, and the rest of the last example
TOO_LARGE = "float16 cannot hold; set activation_dtype: float32 for this model"
FLOAT16_MAX, FLOAT32_MAX, FLOAT16_TINY = 65504.0, np.finfo(np.float32).max, np.float16(2**-24)


def latents_schema(activation: pa.DataType) -> pa.Schema:
    """One row per pooled token, or per example: its last token."""
    return pa.schema(
        {
            "example": pa.uint32(),
            "position": pa.uint32(),
            "latent": pa.list_(pa.uint32()),
            "activation": pa.list_(activation),
        }
    )


def stored_type(activation_dtype: str) -> pa.DataType:
    """The type of the config's activation_dtype."""
    return pa.float16() if activation_dtype == "float16" else pa.float32()


def hidden_schema(d: int) -> pa.Schema:
    """One row per example: the pooled hidden states [d] and the number of tokens in them."""
    pooled = {pooling: pa.list_(pa.float32(), d) for pooling in HIDDEN_POOLINGS}
    return pa.schema({"example": pa.uint32(), "tokens": pa.uint32(), **pooled})


def token_rows(batch: Batch, numbers: np.ndarray, chosen_BT: np.ndarray) -> dict[str, np.ndarray]:
    """Example and position of the chosen tokens of a batch, example by example.

    The position is the token's number among the content tokens of its example, of an end behind them the last one's.
    """
    row, column = np.nonzero(chosen_BT)
    position = np.cumsum(batch.content_BT, axis=1)[row, column] - 1
    return {
        "example": numbers[batch.examples[row]].astype(np.uint32),
        "position": position.astype(np.uint32),
    }


def tokens_tables(tokens: Tokens, numbers: np.ndarray) -> Iterator[pa.Table]:
    """A row per content token, massive or not, in the order of the examples, each whole in one table.

    Columns: example, position (as of `token_rows`), token_id (not of images), and those of `Tokens.places`.
    """
    counts_E = tokens.content_counts_E
    table_E = (np.cumsum(counts_E) - counts_E) // TOKENS_TOGETHER
    for examples in np.split(np.arange(len(counts_E)), np.flatnonzero(np.diff(table_E)) + 1):
        columns = {
            "example": np.repeat(numbers[examples], counts_E[examples]),
            "position": np.concatenate([np.arange(counts_E[example]) for example in examples]),
        }
        if tokens.images is None:
            columns["token_id"] = np.concatenate([tokens.ids[example][tokens.content[example]] for example in examples])
        columns |= {
            name: np.concatenate([place[example] for example in examples]) for name, place in tokens.places.items()
        }
        yield pa.table({name: _column(values) for name, values in columns.items()})


def _column(values_N: np.ndarray) -> pa.Array:
    return pa.array(values_N.tolist()) if values_N.dtype == object else to_arrow(values_N.astype(np.uint32))


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
            + (TOO_LARGE if np.isfinite(values[bad]) else "is not finite; set dtype: float32 for this model")
        )
    if pa.types.is_float16(activation):
        values = values.astype(np.float16)
        lost = values == 0  # what is active stays active
        values[lost] = np.copysign(FLOAT16_TINY, sparse.values[lost])
    return pa.table(
        [
            *map(to_arrow, rows.values()),
            pa.ListArray.from_arrays(to_arrow(offsets), to_arrow(sparse.latents)),
            pa.ListArray.from_arrays(to_arrow(offsets), to_arrow(values)),
        ],
        schema=latents_schema(activation),
    )


def state_table(rows: dict[str, np.ndarray], state_ND: torch.Tensor, stored: pa.DataType, layer: int) -> pa.Table:
    """A row per token: its example, position and hidden state [d].

    Raises:
        TesseraError: float16 cannot hold a value.
    """
    largest_N = state_ND.abs().amax(dim=1)
    if pa.types.is_float16(stored):
        if largest_N.max() > FLOAT16_MAX:
            bad = int(largest_N.argmax())
            raise TesseraError(
                f"layer {layer}: example {rows['example'][bad]} has a hidden state with {largest_N[bad]:.0f} in it, "
                f"which {TOO_LARGE}"
            )
        state_ND = state_ND.half()
    states = pa.FixedSizeListArray.from_arrays(to_arrow(state_ND.cpu().numpy().ravel()), state_ND.shape[1])
    return pa.table([*map(to_arrow, rows.values()), states], names=[*rows, "state"])


def pool_hidden(state_ND: torch.Tensor, counts_B: np.ndarray, end_BD: torch.Tensor, examples_B: np.ndarray) -> pa.Table:
    """A row per example: sum, max and last of its tokens' hidden states, `counts_B` to an example; that of its end."""
    lengths_B = torch.from_numpy(counts_B).to(state_ND.device)
    pooled = {
        "sum": torch.segment_reduce(state_ND, "sum", lengths=lengths_B),
        "max": torch.segment_reduce(state_ND, "max", lengths=lengths_B),
        "last": state_ND[lengths_B.cumsum(0) - 1],
        BEFORE_ANSWER: end_BD,
    }
    d = state_ND.shape[1]
    columns = [to_arrow(column.astype(np.uint32)) for column in (examples_B, counts_B)]
    for pooling in HIDDEN_POOLINGS:
        columns.append(pa.FixedSizeListArray.from_arrays(to_arrow(pooled[pooling].cpu().numpy().ravel()), d))
    return pa.table(columns, schema=hidden_schema(d))


def check_finite(state_ND: torch.Tensor, chosen_BT: np.ndarray, examples_B: np.ndarray, layer: int) -> None:
    """Are the states of the chosen tokens of a batch all finite?"""
    finite_N = torch.isfinite(state_ND).all(dim=1)
    if finite_N.all():
        return
    row, position = (found[int((~finite_N).nonzero()[0])] for found in np.nonzero(chosen_BT))
    raise TesseraError(
        f"layer {layer}: example {examples_B[row]} has a hidden state that is not finite at position {position}; "
        f"set dtype: float32 for this model"
    )
