"""Pooling over content tokens: from a latents shard to one sparse row per example."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from tessera.io import parquet_writer, read_parquet, row_groups

FEATURES_SCHEMA = pa.schema({"example": pa.uint32(), "latent": pa.list_(pa.uint32()), "value": pa.list_(pa.float32())})


def pool_shards(shards: list[Path], outputs: dict[str, Path]) -> None:
    """Pool latents shards, a row group (which holds whole examples) at a time: pooling → feature file."""
    with ExitStack() as stack:
        writers = {
            pooling: stack.enter_context(parquet_writer(out, FEATURES_SCHEMA)) for pooling, out in outputs.items()
        }
        for example_N, offsets_N, latents, values in _row_groups(shards):
            for pooling, writer in writers.items():
                writer.write_table(_features_table(*pool(example_N, offsets_N, latents, values, pooling)))


def _row_groups(shards: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    for shard in shards:
        for group in row_groups(shard, ["example", "latent", "activation"]):
            latents, activations = (group[name].chunk(0) for name in ("latent", "activation"))
            values = activations.values.to_numpy().astype(np.float32)
            yield group["example"].to_numpy(), latents.offsets.to_numpy(), latents.values.to_numpy(), values


def _features_table(example_E: np.ndarray, pooled_EW: sp.csr_array) -> pa.Table:
    offsets = pa.array(pooled_EW.indptr, pa.int32())
    latents = pa.ListArray.from_arrays(offsets, pa.array(pooled_EW.indices.astype(np.uint32)))
    values = pa.ListArray.from_arrays(offsets, pa.array(pooled_EW.data))
    return pa.table([pa.array(example_E), latents, values], schema=FEATURES_SCHEMA)


def pool(
    example_N: np.ndarray, offsets_N: np.ndarray, latents: np.ndarray, values: np.ndarray, pooling: str
) -> tuple[np.ndarray, sp.csr_array]:
    """Pool the sparse activations of N tokens, whose examples stand together, to one row per example.

    Args:
        example_N: example number of each token.
        offsets_N: N + 1 offsets of the tokens into `latents` and `values`.
        latents, values: latent ids and activations other than zero, token by token (negative only of abs-top-k SAEs).
        pooling: sum, mean (over all content tokens), max, last (content token), count (of positive tokens), or topN
            (at how many tokens the latent is among the N largest; among equals the smaller latent id first).

    Returns:
        Example numbers [E] in order of appearance, and the float32 features [E, W].
    """
    starts_E = np.flatnonzero(np.append(True, example_N[1:] != example_N[:-1]))
    bounds_E = np.append(starts_E, len(example_N))
    counts_N = np.diff(offsets_N)
    keep = None
    if pooling == "last":
        is_last_N = np.zeros(len(example_N), dtype=bool)
        is_last_N[bounds_E[1:] - 1] = True
        keep = np.repeat(is_last_N, counts_N)
    elif pooling.startswith("top"):
        keep = (_ranks(counts_N, values) < int(pooling.removeprefix("top"))) & (values > 0)
    elif pooling == "count":
        keep = values > 0
    if pooling == "count" or pooling.startswith("top"):
        values = np.ones_like(values)
    offsets_E = offsets_N[bounds_E]
    if keep is not None:
        latents, values, offsets_E = latents[keep], values[keep], np.append(0, np.cumsum(keep))[offsets_E]
    pooled_EW = _merge(offsets_E, latents, values, np.maximum if pooling == "max" else np.add)
    if pooling == "max" and (pooled_EW.data < 0).any():  # the tokens at which the latent is silent count as 0
        tokens_at = _merge(offsets_E, latents, np.ones_like(values), np.add).data
        silent = tokens_at < np.repeat(np.diff(bounds_E), np.diff(pooled_EW.indptr))
        pooled_EW.data[silent & (pooled_EW.data < 0)] = 0
        pooled_EW.eliminate_zeros()
    if pooling == "mean":
        tokens_E = np.diff(bounds_E)
        pooled_EW.data /= np.repeat(tokens_E, np.diff(pooled_EW.indptr))
    pooled_EW.data = pooled_EW.data.astype(np.float32)
    return example_N[starts_E], pooled_EW


def _ranks(counts_N: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rank of each activation within its token, 0 for the largest; among equals in order of the latent ids."""
    token = np.repeat(np.arange(len(counts_N)), counts_N)
    order = np.lexsort((-values, token))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
    return ranks


def _merge(offsets_E: np.ndarray, latents: np.ndarray, values: np.ndarray, reduce: np.ufunc) -> sp.csr_array:
    """Merge equal latents of an example with `reduce`, in float64: two linear bucket sorts, no comparison sort."""
    shape = (len(offsets_E) - 1, int(latents.max(initial=0)) + 1)
    by_latent = sp.csr_array((values, latents.astype(np.int32), offsets_E), shape=shape).tocsc()  # keeps duplicates
    latent = np.repeat(np.arange(shape[1]), np.diff(by_latent.indptr))
    heads = np.flatnonzero(
        np.append(True, (by_latent.indices[1:] != by_latent.indices[:-1]) | (latent[1:] != latent[:-1]))[: len(values)]
    )
    merged = reduce.reduceat(by_latent.data.astype(np.float64), heads) if len(heads) else np.zeros(0)
    indptr = np.append(0, np.cumsum(np.bincount(latent[heads], minlength=shape[1])))
    return sp.csc_array((merged, by_latent.indices[heads], indptr), shape=shape).tocsr()


def read_features(path: Path) -> sp.csr_array:
    """The pooled features [E, W] as float32, examples ascending."""
    table = read_parquet(path, ["example", "latent", "value"])
    lists = table["latent"].chunk(0)
    offsets_E, latents = lists.offsets.to_numpy(), lists.values.to_numpy()
    values = table["value"].chunk(0).values.to_numpy()
    shape = (len(table), int(latents.max(initial=0)) + 1)
    features_EW = sp.csr_array((values, latents.astype(np.int32), offsets_E), shape=shape)
    return features_EW[np.argsort(table["example"].to_numpy(), kind="stable")]
