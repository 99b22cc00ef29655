"""Pooling over content tokens: from a latents shard to one sparse row per example."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from tessera.base.files import parquet_writer, read_parquet, row_groups

SORTED_AT_ONCE = 256  # tokens
FEATURES_SCHEMA = pa.schema({"example": pa.uint32(), "latent": pa.list_(pa.uint32()), "value": pa.list_(pa.float32())})


def pool_shards(shards: list[Path], outputs: dict[str, Path]) -> None:
    """Pool latents shards, a row group (which holds whole examples) at a time: pooling → feature file."""
    with ExitStack() as stack:
        writers = {
            pooling: stack.enter_context(parquet_writer(out, FEATURES_SCHEMA)) for pooling, out in outputs.items()
        }
        for example_N, offsets_N, latents, values in _row_groups(shards):
            example_E, pooled = pool(example_N, offsets_N, latents, values, list(outputs))
            for pooling, writer in writers.items():
                writer.write_table(_features_table(example_E, pooled[pooling]))


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
    example_N: np.ndarray, offsets_N: np.ndarray, latents: np.ndarray, values: np.ndarray, poolings: list[str]
) -> tuple[np.ndarray, dict[str, sp.csr_array]]:
    """Pool the sparse activations of N tokens, whose examples stand together, to one row per example.

    Args:
        example_N: example number of each token.
        offsets_N: N + 1 offsets of the tokens into `latents` and `values`.
        latents, values: latent ids and activations other than zero, token by token (negative only of abs-top-k SAEs).
        poolings: each one of sum, mean (over all content tokens), max, last (content token), count (of positive
            tokens), or topN (at how many tokens the latent is among the N largest, positive ones; among equals the
            smaller latent id first).

    Returns:
        Example numbers [E] in order of appearance, and per pooling the float32 features [E, W].
    """
    starts_E = np.flatnonzero(np.append(True, example_N[1:] != example_N[:-1]))
    bounds_E = np.append(starts_E, len(example_N))
    tokens_E, counts_N = np.diff(bounds_E), np.diff(offsets_N)
    merge = _Merge(offsets_N[bounds_E], latents)
    pooled = {}
    for pooling in poolings:
        match pooling:
            case "sum":
                pooled_EW = merge(values)
            case "mean":
                pooled_EW = merge(values)
                pooled_EW.data /= np.repeat(tokens_E, np.diff(pooled_EW.indptr))
            case "max":
                pooled_EW = merge(values, np.maximum)
                if (pooled_EW.data < 0).any():  # the tokens at which the latent is silent count as 0
                    silent = merge.tokens < np.repeat(tokens_E, np.diff(pooled_EW.indptr))
                    pooled_EW.data[silent & (pooled_EW.data < 0)] = 0
            case "last":
                is_last_N = np.zeros(len(example_N), dtype=bool)
                is_last_N[bounds_E[1:] - 1] = True
                pooled_EW = merge(np.where(np.repeat(is_last_N, counts_N), values, 0))
            case "count":
                pooled_EW = merge(values > 0)
            case _:
                pooled_EW = merge(_among_largest(counts_N, values, int(pooling.removeprefix("top"))))
        pooled_EW.eliminate_zeros()
        pooled_EW.data = pooled_EW.data.astype(np.float32)
        pooled[pooling] = pooled_EW
    return example_N[starts_E], pooled


class _Merge:
    """Merges equal latents of an example; the sort, two linear bucket sorts, is shared by all poolings."""

    def __init__(self, offsets_E: np.ndarray, latents: np.ndarray):
        self.shape = (len(offsets_E) - 1, int(latents.max(initial=0)) + 1)
        place = np.arange(len(latents), dtype=np.int32)
        unsorted = sp.csr_array((place, latents.astype(np.int32), offsets_E.astype(np.int32)), shape=self.shape)
        by_example = unsorted.tocsc().tocsr()  # keeps duplicates, latents ascending
        self.order, latent = by_example.data, by_example.indices
        starts = np.zeros(len(latents), dtype=bool)
        starts[offsets_E[:-1][np.diff(offsets_E) > 0]] = True
        self.heads = np.flatnonzero(starts | np.append(True, latent[1:] != latent[:-1])[: len(latents)])
        self.indices = latent[self.heads]
        self.indptr = np.searchsorted(self.heads, offsets_E).astype(np.int32)
        self.tokens = np.diff(np.append(self.heads, len(latents)))  # at how many tokens each merged latent is active

    def __call__(self, values: np.ndarray, reduce: np.ufunc = np.add) -> sp.csr_array:
        """One entry per example and latent: `reduce` of its values, in float64."""
        values = values[self.order].astype(np.float64)
        merged = reduce.reduceat(values, self.heads) if len(self.heads) else values
        return sp.csr_array((merged, self.indices.copy(), self.indptr.copy()), shape=self.shape)


def _among_largest(counts_N: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Is each activation positive and among its token's `n` largest; among equals those that stand first."""
    token = np.repeat(np.arange(len(counts_N)), counts_N)
    least_N = np.zeros(len(counts_N), dtype=values.dtype)
    many = np.flatnonzero(counts_N > n)
    many = many[np.argsort(counts_N[many], kind="stable")]  # tokens of like counts side by side waste no room
    offsets_N = np.cumsum(counts_N) - counts_N
    for start in range(0, len(many), SORTED_AT_ONCE):
        group = many[start : start + SORTED_AT_ONCE]
        column = np.arange(counts_N[group].max())
        there = column < counts_N[group, None]
        dense = np.where(there, values[np.where(there, offsets_N[group, None] + column, 0)], -np.inf)
        least_N[group] = np.maximum(np.partition(dense, -n, axis=1)[:, -n], 0)
    least = least_N[token]
    above = values > least
    room_N = n - np.bincount(token[above], minlength=len(counts_N))
    ties = np.flatnonzero((values == least) & (values > 0))
    rank = np.arange(len(ties)) - np.searchsorted(token[ties], token[ties])
    above[ties[rank < room_N[token[ties]]]] = True
    return above


def read_features(path: Path, width: int | None = None) -> sp.csr_array:
    """The pooled features [E, W] as float32, examples ascending; W is `width`, or the largest latent there is + 1."""
    table = read_parquet(path, ["example", "latent", "value"])
    lists = table["latent"].chunk(0)
    offsets_E, latents = lists.offsets.to_numpy(), lists.values.to_numpy()
    values = table["value"].chunk(0).values.to_numpy()
    shape = (len(table), width or int(latents.max(initial=0)) + 1)
    features_EW = sp.csr_array((values, latents.astype(np.int32), offsets_E), shape=shape)
    return features_EW[np.argsort(table["example"].to_numpy(), kind="stable")]
