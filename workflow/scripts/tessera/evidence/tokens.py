"""The tokens that latents fire on: how often, how strongly, where they stand; shards are read a row group at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.files import row_groups
from tessera.features.pooling import token_groups
from tessera.probes.task import Task

PLACES = ("start", "end", "piece", "row", "column")  # what tokens.parquet has of a token, by medium and tokenizer
BINS = 20  # of a histogram of activations


def peaks(shards: list[Path], latents: list[int], examples: int) -> tuple[np.ndarray, np.ndarray]:
    """How strongly some latents fire on a data set.

    Returns:
        The largest size [E, L] of their activations on each text, and the range [2, L] of those that are not zero:
        smallest and largest; infinite, and the wrong way round, of a latent that never fires.
    """
    largest_EL = np.zeros((examples, len(latents)), dtype=np.float32)
    range_2L = np.tile([[np.inf], [-np.inf]], len(latents))
    for example_N, _, place, column, value in _active(shards, latents):
        np.maximum.at(largest_EL, (example_N[place], column), np.abs(value))
        np.minimum.at(range_2L[0], column, value)
        np.maximum.at(range_2L[1], column, value)
    return largest_EL, range_2L


def histograms(task: Task, shards: list[Path], latents: list[int], range_2L: np.ndarray) -> pl.DataFrame:
    """The activations of some latents, counted by class in equal bins of their range, as `peaks` gives it.

    A row per latent that fires, class and bin, empty ones too: latent, class, low, high, tokens. Activations that are
    all the same have half a unit to either side.
    """
    fires_L = np.isfinite(range_2L[0])
    latents = [latent for latent, fires in zip(latents, fires_L, strict=True) if fires]
    low_L, high_L = range_2L[:, fires_L]
    half_L = np.where(low_L == high_L, 0.5, 0)
    edges_LB = np.linspace(low_L - half_L, high_L + half_L, BINS + 1, axis=1)
    classes = len(task.classes)
    tokens_LCB = np.zeros((len(latents), classes, BINS), dtype=np.int64)
    for example_N, _, place, column, value in _active(shards, latents):
        share = (value - edges_LB[column, 0]) / (edges_LB[column, -1] - edges_LB[column, 0])
        bin_ = np.minimum((share * BINS).astype(np.int64), BINS - 1)
        cell = (column * classes + task.label_E[example_N[place]]) * BINS + bin_
        tokens_LCB += np.bincount(cell, minlength=tokens_LCB.size).reshape(tokens_LCB.shape)
    ends = {"low": edges_LB[:, :-1], "high": edges_LB[:, 1:]}
    return pl.DataFrame(
        {
            "latent": np.repeat(np.array(latents, dtype=np.int64), classes * BINS),
            "class": pl.Series(task.classes * len(latents), dtype=pl.String).repeat_by(BINS).explode(),
            **{name: np.repeat(end_LB[:, None], classes, axis=1).ravel() for name, end_LB in ends.items()},
            "tokens": tokens_LCB.ravel(),
        }
    )


def neutral_rate(shards: list[Path], latents: list[int]) -> np.ndarray:
    """Share [L] of the tokens of neutral texts that fire each latent."""
    tokens_L, tokens = np.zeros(len(latents)), 0
    for example_N, _, _, column, _ in _active(shards, latents):
        tokens_L += np.bincount(column, minlength=len(latents))
        tokens += len(example_N)
    return tokens_L / max(1, tokens)


def marks(shards: list[Path], tokens: list[Path], pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Where the latent of each pair of `latent` and `example` fires on the text, of the pairs that `shards` hold.

    Returns:
        latent, example, and lists of the places of the tokens, as tokens.parquet has them, with their activations; and
        per example how many tokens it has.
    """
    places, lengths = places_of(tokens, pairs["example"].unique())
    every = activations_of(shards, pairs["latent"].unique().to_numpy())
    fired = pl.concat(one.join(pairs, on=["latent", "example"], how="semi", maintain_order="left") for one in every)
    fired = fired.join(places, on=["example", "position"], how="left", maintain_order="left")
    return fired.group_by("latent", "example", maintain_order=True).agg(*PLACES, "activation"), lengths


def _active(shards: list[Path], latents: Sequence[int] | np.ndarray) -> Iterator[tuple]:
    """Per row group: example and position of its tokens, and of each activation of `latents` token, column, value."""
    for example_N, position_N, offsets_N, latent, value in token_groups(shards):
        column_W = np.full(max([*latents, int(latent.max(initial=0))]) + 1, -1)
        column_W[latents] = np.arange(len(latents))
        kept = column_W[latent] >= 0
        place = np.repeat(np.arange(len(example_N)), np.diff(offsets_N))[kept]
        yield example_N, position_N, place, column_W[latent[kept]], value[kept]


def activations_of(shards: list[Path], latents: Sequence[int] | np.ndarray) -> Iterator[pl.DataFrame]:
    """Per row group every activation of some latents: latent, example, position, activation."""
    latent_L = np.asarray(latents, dtype=np.int64)
    for example_N, position_N, place, column, value in _active(shards, latents):
        frame = {"latent": latent_L[column], "example": example_N[place], "position": position_N[place]}
        yield pl.DataFrame(frame | {"activation": value})


def places_of(tokens: list[Path], examples: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tokens of some examples, a null for what a tokenizer or medium has not; and how many each has."""
    parts = []
    for file in tokens:
        for group in row_groups(file):
            parts.append(pl.from_arrow(group).filter(pl.col("example").is_in(examples.implode())))
    found = pl.concat(parts)
    empty = {name: pl.String if name == "piece" else pl.UInt32 for name in PLACES if name not in found.columns}
    found = found.with_columns(pl.lit(None, kind).alias(name) for name, kind in empty.items())
    return found.select("example", "position", *PLACES), found.group_by("example").agg(tokens=pl.len())
