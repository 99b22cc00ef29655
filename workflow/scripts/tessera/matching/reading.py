"""What a match reads: features, hidden states, tokens and probes of the SAE on either side, by data set."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base import hive
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.features.spaces import Thresholding
from tessera.matching import alignment
from tessera.matching.carry import RandomSaes, Side, answer, results, ridge
from tessera.matching.pairings import HIDDEN_POOLING, Sides, random_maps
from tessera.probes.fitted import LinearProbe
from tessera.probes.task import Task, read_probe
from tessera.study import paths, untrained
from tessera.study.grid import parse_width

logger = logging.getLogger("tessera")

SAE, HIDDEN = kind("sae"), kind("hidden")


@dataclass
class Reader:
    """The files of one side of a match.

    place: model, layer and width of its SAE. features, shards: of all data sets. cells: the scores and coefficients of
    the probes on its latents and on its hidden states, where they are carried.
    """

    place: dict[str, str]
    features: list[str]
    shards: list[str]
    cells: list[str]

    @property
    def name(self) -> str:
        return f"{self.place['model']}, layer {self.place['layer']}, width {self.place['width']}"

    def features_of(self, data: str, pooling: str) -> sp.csr_array:
        """Pooled latents [E, W] of a data set."""
        return SAE.load(Stored(None, hive.at(self.features, data=data, **self.place), self.place), pooling)

    def hidden_of(self, data: str, pooling: str) -> np.ndarray:
        """Pooled hidden states [E, d] of a data set."""
        return HIDDEN.load(Stored(None, hive.at(self.shards, data=data), self.place), pooling)

    def files_of(self, data: str, name: str) -> list[Path]:
        """A file of each of a data set's shards."""
        return [Path(shard) / name.format(**self.place) for shard in hive.at(self.shards, data=data)]

    def tokens_of(self, data: str, wanted: np.ndarray) -> alignment.Tokens:
        """See `alignment.read_tokens`."""
        file, width = paths.LATENTS.format(**self.place), parse_width(self.place["width"])
        shards = [Path(shard) for shard in hive.at(self.shards, data=data)]
        return alignment.read_tokens(shards, file, wanted, width)

    def probe_of(self, features: str, data: str, names: list[str], **axes: str) -> tuple[LinearProbe, Thresholding]:
        """The probe of a cell, and what makes its matrix."""
        files = hive.at(self.cells, features=features, data=data, **axes)
        parts = {Path(file).stem: pl.read_parquet(file) for file in files}
        return read_probe(parts["scores"], parts["coefficients"], names)


def read_sides(
    readers: dict[str, Reader], files: list[str], texts: list[str], poolings: list[str], *, same: bool, seed: int
) -> Sides:
    """What a match is found on: the training texts of some data sets, each once, and some of their tokens.

    `files` are those of the examples, of these data sets and maybe others.
    """
    examples = _examples(files, texts)
    rows = {data: alignment.training_texts(frame) for data, frame in examples.items()}
    budget = alignment.TOKENS_MOST // len(examples)
    hidden_files = {data: readers["a"].files_of(data, paths.HIDDEN) for data in examples}
    wanted = {
        data: alignment.sampled_texts(frame, hidden_files[data], budget, seed) for data, frame in examples.items()
    }
    features = {pooling: latents(readers, rows, pooling) for pooling in poolings}
    hidden = {pooling: hidden_states(readers, rows, pooling) for pooling in hidden_poolings(poolings)}
    tokens = {side: [reader.tokens_of(data, wanted[data]) for data in rows] for side, reader in readers.items()}
    aligned = alignment.align(tokens["a"], tokens["b"], [reader.name for reader in readers.values()])
    return Sides(features, hidden, aligned, same, seed)


def _examples(files: list[str], several: list[str]) -> dict[str, pl.DataFrame]:
    return {data: read_examples(hive.one(files, data=data)) for data in several}


def hidden_poolings(poolings: list[str]) -> set[str]:
    """The poolings of hidden states that random directions are taken of, for these poolings of latents."""
    return {HIDDEN_POOLING.get(pooling, "mean") for pooling in poolings}


def latents(readers: dict[str, Reader], rows: dict[str, np.ndarray], pooling: str) -> dict[str, sp.csr_array]:
    """Per side the pooled latents [E, W] of some rows of several data sets, one below the other."""
    return {
        side: sp.vstack([reader.features_of(data, pooling)[rows[data]] for data in rows], format="csr")
        for side, reader in readers.items()
    }


def hidden_states(readers: dict[str, Reader], rows: dict[str, np.ndarray], pooling: str) -> dict[str, np.ndarray]:
    """Per side the pooled hidden states [E, d] of some rows of several data sets, one below the other."""
    return {
        side: np.concatenate([reader.hidden_of(data, pooling)[rows[data]] for data in rows])
        for side, reader in readers.items()
    }


def read_ridges(readers: dict[str, Reader], examples: dict[str, pl.DataFrame], poolings: list[str]) -> dict:
    """(source, pooling) → the ridge map from the target's hidden states, fitted on the training texts of `examples`."""
    rows = {data: alignment.training_texts(frame) for data, frame in examples.items()}
    ridges = {}
    for pooling in poolings:
        training = hidden_states(readers, rows, pooling)
        for source, target in ("ab", "ba"):
            ridges[source, pooling] = ridge(training[target], training[source])
    return ridges


def read_side(reader: Reader, data: str, task: Task, cells: list[dict[str, str]], poolings: list[str]) -> Side:
    """One SAE on one data set, with its probes: `cells` of its latents, `poolings` of its hidden states."""
    wanted = dict.fromkeys(cell["pooling"] for cell in cells)
    return Side(
        {pooling: reader.features_of(data, pooling) for pooling in wanted},
        {pooling: reader.hidden_of(data, pooling) for pooling in hidden_poolings(list(wanted)) | set(poolings)},
        {tuple(cell.values()): reader.probe_of("sae", data, task.classes, **cell) for cell in cells},
        {pooling: reader.probe_of("hidden", data, task.classes, pooling=pooling)[0] for pooling in poolings},
    )


def carry_all(
    readers: dict[str, Reader],
    random: dict[str, Reader],
    files: list[str],
    pairings: pl.DataFrame,
    *,
    texts: list[str],
    data: list[str],
    same: bool,
    cells: list[dict[str, str]],
    hidden_poolings: list[str],
    settings: dict,
) -> dict[str, pl.DataFrame]:
    """What a match leaves of the probes that are carried (see `results`), on each of the data sets `data`.

    `random` are the readers of the random SAEs.
    """
    training = _examples(files, texts)
    ridges = read_ridges(readers, training, hidden_poolings)
    rows = {name: alignment.training_texts(frame) for name, frame in training.items()}
    poolings = list(dict.fromkeys(cell["pooling"] for cell in cells))
    sampled = {pooling: _drawn(latents(random, rows, pooling)) for pooling in poolings}
    maps = [
        {pooling: random_maps(several[draw], same=same) for pooling, several in sampled.items()}
        for draw in range(untrained.DRAWS)
    ]
    answered = {}
    for one, examples in _examples(files, data).items():
        task = Task(examples, **settings)
        sides = {side: read_side(reader, one, task, cells, hidden_poolings) for side, reader in readers.items()}
        features = {
            pooling: _drawn({side: reader.features_of(one, pooling) for side, reader in random.items()})
            for pooling in poolings
        }
        drawn = [
            RandomSaes({pooling: several[draw] for pooling, several in features.items()}, found)
            for draw, found in enumerate(maps)
        ]
        answered[one] = task, answer(task, sides, pairings, ridges, settings["seed"], drawn)
        logger.info("%s: %d conditions", one, len(answered[one][1]))
    return results(answered)


def _drawn(features: dict[str, sp.csr_array]) -> list[dict[str, sp.csr_array]]:
    """Of each draw of the random SAEs the latents of either side."""
    drawn = {side: untrained.draws(features_EW) for side, features_EW in features.items()}
    return [dict(zip(drawn, sides, strict=True)) for sides in zip(*drawn.values(), strict=True)]
