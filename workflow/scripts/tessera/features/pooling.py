"""Pooling over content tokens: from a latents shard to one sparse row per example."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from tessera.base.arrow import to_arrow, to_numpy
from tessera.base.errors import TesseraError, shorten
from tessera.base.files import parquet_writer, read_parquet, row_groups
from tessera.study import paths
from tessera.study.grid import BEFORE_ANSWER
from tessera.study.study import Study

SORTED_AT_ONCE = 256  # tokens
BESIDE = "_beside_"  # between a pooling of latents and that of the hidden states that stand beside them
FEATURES_SCHEMA = pa.schema({"example": pa.uint32(), "latent": pa.list_(pa.uint32()), "value": pa.list_(pa.float32())})


def pool_folders(folders: list[Path], outputs: dict[str, Path], *, layer: str, width: str) -> None:
    """Pool what extractions left of one SAE in their `folders`, in several ways: pooling → feature file.

    Raises:
        TesseraError: what it does before the answer is asked for, of an SAE that reads a token's neighbours.
    """
    ends = {pooling: out for pooling, out in outputs.items() if pooling == BEFORE_ANSWER}
    tokens = {pooling: out for pooling, out in outputs.items() if pooling != BEFORE_ANSWER}
    for pattern, wanted in ((paths.LATENTS, tokens), (paths.BEFORE_ANSWER, ends)):
        files = [folder / pattern.format(layer=layer, width=width) for folder in folders]
        if wanted is ends and wanted and not files[0].exists() and folders[0].exists():
            raise TesseraError(
                f"layer {layer} width {width}: its SAE reads a token's neighbours, so it has no activation before the "
                f"answer; drop {BEFORE_ANSWER} from grid.poolings, or give this SAE a study of its own"
            )
        if wanted:
            pool_shards(files, wanted)


def pool_shards(shards: list[Path], outputs: dict[str, Path]) -> None:
    """Pool latents shards, a row group (which holds whole examples) at a time: pooling → feature file."""
    with ExitStack() as stack:
        writers = {
            pooling: stack.enter_context(parquet_writer(out, FEATURES_SCHEMA)) for pooling, out in outputs.items()
        }
        for example_N, _, offsets_N, latents, values in token_groups(shards):
            example_E, pooled = pool(example_N, offsets_N, latents, values, list(outputs))
            for pooling, writer in writers.items():
                writer.write_table(_features_table(example_E, pooled[pooling]))


def token_groups(shards: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The row groups of latents shards, each of whole examples.

    Yields example_N and position_N of its tokens, their N + 1 offsets into what is active, latents, and values (f32).
    """
    for shard in shards:
        for group in row_groups(shard, ["example", "position", "latent", "activation"]):
            latents, activations = (group[name].chunk(0) for name in ("latent", "activation"))
            example_N, position_N = (to_numpy(group[name].chunk(0)) for name in ("example", "position"))
            values = to_numpy(activations.values).astype(np.float32)
            yield example_N, position_N, to_numpy(latents.offsets), to_numpy(latents.values), values


def _features_table(example_E: np.ndarray, pooled_EW: sp.csr_array) -> pa.Table:
    offsets = to_arrow(pooled_EW.indptr.astype(np.int32))
    latents = pa.ListArray.from_arrays(offsets, to_arrow(pooled_EW.indices.astype(np.uint32)))
    values = pa.ListArray.from_arrays(offsets, to_arrow(pooled_EW.data))
    return pa.table([to_arrow(example_E), latents, values], schema=FEATURES_SCHEMA)


def pool(
    example_N: np.ndarray, offsets_N: np.ndarray, latents: np.ndarray, values: np.ndarray, poolings: list[str]
) -> tuple[np.ndarray, dict[str, sp.csr_array]]:
    """Pool the sparse activations of N tokens, whose examples stand together, to one row per example.

    Args:
        example_N: example number of each token.
        offsets_N: N + 1 offsets of the tokens into `latents` and `values`.
        latents, values: latent ids and activations other than zero, token by token (negative only of abs-top-k SAEs).
        poolings: as `parse_pooling` reads them.

    Returns:
        Example numbers [E] in order of appearance, and per pooling the float32 features [E, W].
    """
    starts_E = np.flatnonzero(np.append(True, example_N[1:] != example_N[:-1]))
    active = Active(np.append(starts_E, len(example_N)), offsets_N, latents, values)
    pooled = {}
    for pooling in poolings:
        name, number = parse_pooling(pooling)
        pooled_EW = POOLINGS[name](active, *number)
        pooled_EW.eliminate_zeros()
        pooled_EW.data = pooled_EW.data.astype(np.float32)
        pooled[pooling] = pooled_EW
    return example_N[starts_E], pooled


class Active:
    """What a pooling sees: the activations other than zero of E whole examples.

    bounds_E: E + 1 bounds of the examples among the N tokens. tokens_E: content tokens of each example.
    counts_N: activations of each token. values: the activations, token by token.

    The sort that merges equal latents of an example, two linear bucket sorts, is shared by all poolings.
    """

    def __init__(self, bounds_E: np.ndarray, offsets_N: np.ndarray, latents: np.ndarray, values: np.ndarray):
        self.bounds_E, self.tokens_E = bounds_E, np.diff(bounds_E)
        self.counts_N, self.values = np.diff(offsets_N), values
        offsets_E = offsets_N[bounds_E]
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

    def merge(self, values: np.ndarray, reduce: np.ufunc = np.add) -> sp.csr_array:
        """One entry per example and latent: `reduce` of its values, in float64."""
        values = values[self.order].astype(np.float64)
        merged = reduce.reduceat(values, self.heads) if len(self.heads) else values
        return sp.csr_array((merged, self.indices.copy(), self.indptr.copy()), shape=self.shape)

    def mean(self, values: np.ndarray) -> sp.csr_array:
        """The same of their mean over all content tokens of the example."""
        merged = self.merge(values)
        merged.data /= self.of_tokens()
        return merged

    def of_tokens(self) -> np.ndarray:
        """For each entry of `merge`, how many content tokens its example has."""
        return np.repeat(self.tokens_E, np.diff(self.indptr))

    def at_tokens(self) -> np.ndarray:
        """For each entry of `merge`, at how many tokens its latent is active."""
        return np.diff(np.append(self.heads, len(self.values)))


def _sum(active: Active) -> sp.csr_array:
    return active.merge(active.values)


def _mean(active: Active) -> sp.csr_array:
    return active.mean(active.values)


def _max(active: Active) -> sp.csr_array:
    pooled_EW = active.merge(active.values, np.maximum)
    if (pooled_EW.data < 0).any():  # the tokens at which the latent is silent count as 0
        silent = active.at_tokens() < active.of_tokens()
        pooled_EW.data[silent & (pooled_EW.data < 0)] = 0
    return pooled_EW


def _last(active: Active) -> sp.csr_array:
    """At the last content token; of `before_answer`, at the last that the model reads, behind the text or in it."""
    is_last_N = np.zeros(len(active.counts_N), dtype=bool)
    is_last_N[active.bounds_E[1:] - 1] = True
    return active.merge(np.where(np.repeat(is_last_N, active.counts_N), active.values, 0))


def _count(active: Active) -> sp.csr_array:
    """At how many tokens the latent is active (positive)."""
    return active.merge(active.values > 0)


def _top(active: Active, n: int) -> sp.csr_array:
    """At how many tokens the latent is among the `n` largest, positive ones; among equals the smaller id first."""
    return active.merge(_among_largest(active.counts_N, active.values, n))


# Every pooling, in the order in which figures show them; N in a name is a whole number that its function takes.
POOLINGS: dict[str, Callable[..., sp.csr_array]] = {
    "sum": _sum,
    "mean": _mean,
    "max": _max,
    "last": _last,
    "count": _count,
    "topN": _top,
    BEFORE_ANSWER: _last,
}


def parse_pooling(pooling: str) -> tuple[str, tuple[int, ...]]:
    """`sum` → ("sum", ()), `top20` → ("topN", (20,)): a name of POOLINGS, and its number where it has one.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"([a-z_]+)([1-9][0-9]{0,5})?", pooling)
    name = f"{found[1]}N" if found and found[2] else pooling
    if found is None or name not in POOLINGS:
        raise ValueError(f"{shorten(pooling)} is no pooling; allowed: {', '.join(POOLINGS)}")
    return name, (int(found[2]),) if found[2] else ()


def pooling_order(pooling: str) -> tuple[int, tuple[int, ...], str]:
    """Where a pooling stands: as in POOLINGS (heads of attention behind), by its number, by hidden states beside it."""
    pooling, _, hidden = pooling.partition(BESIDE)
    name, number = re.sub(r"[0-9]+", "N", pooling), tuple(map(int, re.findall(r"[0-9]+", pooling)))
    return [*POOLINGS, name].index(name), number, name + hidden


def check_poolings(study: Study) -> None:
    """Are the poolings of a study's grid known?

    Raises:
        TesseraError: names the first that is not.
    """
    for index, pooling in enumerate(study.grid["poolings"]):
        try:
            parse_pooling(pooling)
        except ValueError as error:
            raise TesseraError(f"config key grid.poolings[{index}]: {error}") from error


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


def feature_groups(path: Path, width: int) -> Iterator[tuple[np.ndarray, sp.csr_array]]:
    """The row groups of a feature file: example_E, and their pooled features [E, W] as float32."""
    for group in row_groups(path, ["example", "latent", "value"]):
        lists, values = group["latent"].chunk(0), to_numpy(group["value"].chunk(0).values)
        latents, offsets_E = to_numpy(lists.values).astype(np.int32), to_numpy(lists.offsets)
        yield to_numpy(group["example"].chunk(0)), sp.csr_array((values, latents, offsets_E), shape=(len(group), width))


def read_features(path: Path, width: int | None = None) -> sp.csr_array:
    """The pooled features [E, W] as float32, examples ascending; W is `width`, or the largest latent there is + 1."""
    table = read_parquet(path, ["example", "latent", "value"])
    lists = table["latent"].chunk(0)
    offsets_E, latents = lists.offsets.to_numpy(), lists.values.to_numpy()
    values = table["value"].chunk(0).values.to_numpy()
    shape = (len(table), width or int(latents.max(initial=0)) + 1)
    features_EW = sp.csr_array((values, latents.astype(np.int32), offsets_E), shape=shape)
    return features_EW[np.argsort(table["example"].to_numpy(), kind="stable")]
