"""Hidden states of every content token, for the probe that chooses by itself which to read.

Its poolings are headsN: N heads of attention pool the tokens, each in its own learned way (`probes/attention.py`);
headsN_position lets a head prefer tokens by where they stand, too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from tessera.base.arrow import to_numpy
from tessera.base.files import read_parquet, row_groups
from tessera.features.kind import Kind, Stored
from tessera.features.spaces import Space, TokenStates
from tessera.study import paths
from tessera.study.study import Study


class Tokens(Kind):
    name = "tokens"
    title = "token states"
    of_control = "random token states"
    place = ("model", "layer")
    transfers = False
    probe = "attention"

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        for model, spec in study.models.items():
            for layer in spec.get("token_states", ()):
                yield {"model": model, "layer": layer}

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        return [paths.TOKEN_STATES.format(model=place["model"], data=data, shard=shard) for shard in shards]

    def load(self, stored: Stored, pooling: str | None) -> TokenStates:
        name = paths.STATES.format(**stored.place)
        return read_states([Path(shard) / name for shard in stored.files])

    def space(self, train: TokenStates, pooling: str | None, threshold: str | None) -> "Heads":
        return Heads(train, pooling)


class Heads(Space):
    """Zero mean and unit variance over the tokens of the training rows, per dimension and of positions; and the heads.

    number: of heads. by_position: may they prefer tokens by where they stand?
    """

    def __init__(self, train: TokenStates, pooling: str):
        number, position = re.fullmatch(r"heads([1-9][0-9]*)(_position)?", pooling).groups()
        self.number, self.by_position = int(number), position is not None
        tokens = int(train.count_E.sum())
        self.mean_D = sum(part_ND.sum(axis=0) for part_ND in train.parts()) / tokens
        square_D = sum(((part_ND - self.mean_D) ** 2).sum(axis=0) for part_ND in train.parts())
        self.scale_D = _scale(square_D / tokens)
        position_N = train.position_N[train.tokens_N].astype(np.float64)
        self.mean_position, self.scale_position = position_N.mean(), float(_scale(position_N.var()))

    def apply(self, features: TokenStates) -> TokenStates:
        return replace(features, space=self)


def _scale(variance: np.ndarray) -> np.ndarray:
    """Standard deviations, 1 of what is constant."""
    return np.where(variance > 0, np.sqrt(variance), 1.0)


def read_states(files: list[Path]) -> TokenStates:
    """The token states of a layer, from its shards; examples ascending."""
    tables = [read_parquet(file, ["example", "position"]) for file in files]
    example_N, position_N = (
        np.concatenate([to_numpy(table[name].chunk(0)) for table in tables]) for name in ("example", "position")
    )
    state_ND, rows = None, 0
    for group in chain.from_iterable(row_groups(file, ["state"]) for file in files):
        states = group["state"].chunk(0)
        values = to_numpy(states.values).reshape(len(states), -1)
        if state_ND is None:
            state_ND = np.empty((len(example_N), values.shape[1]), dtype=values.dtype)
        state_ND[rows : rows + len(states)] = values
        rows += len(states)
    first_E = np.flatnonzero(np.append(True, example_N[1:] != example_N[:-1]))
    count_E, order_E = np.diff(np.append(first_E, len(example_N))), np.argsort(example_N[first_E], kind="stable")
    return TokenStates(state_ND, position_N, first_E[order_E], count_E[order_E])
