"""What a kind of features is: the one interface of everything that a probe can read.

A kind is one file of this package and one entry of `registry.py`. Paths, wildcards, hive keys, the
rules of probes and of transfer, contestants, claims, colours and titles follow from what it says here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tessera.features.spaces import Features, Space, Standardised
from tessera.study import paths
from tessera.study.study import Study


@dataclass
class Stored:
    """What is stored of one data set at one place of the grid.

    examples: the file of its examples. files: those that `Kind.inputs` names. place: the values of `Kind.place`.
    """

    examples: Path
    files: list[str]
    place: dict[str, str]


class Kind(ABC):
    """One kind of features. Rows are the examples of a data set, in their order; columns mean the same in every set.

    name: in paths, in the column `features`, and under `baselines` in the config.
    title, of_control: its names in figures, tables and claims; of_control of a model of re-drawn weights.
    media: what a data set must hold to be read so.
    place: the axes that, beside the data set, name a job. axes: those whose cells share a job.
    transfers: can a probe on it be scored on another data set?
    latents: are its columns latents, whose weights make a table?
    probe: the kind of probe that every study has on it.
    environment: the file of envs/ that its jobs need.
    """

    name: str
    title: str
    of_control: str | None = None
    media: tuple[str, ...] = ("text", "image")
    place: tuple[str, ...] = ()
    axes: tuple[str, ...] = ("pooling",)
    transfers: bool = True
    latents: bool = False
    probe: str = "logistic"
    environment: str = "probes"

    def asked(self, study: Study) -> bool:
        """Does a study ask for it: for a value of each of its axes, or, where it has none, for it at all?"""
        return all(self.values(study).values()) if self.axes else study.baselines[self.name]

    def values(self, study: Study) -> dict[str, list[str]]:
        """axis → its values in a study."""
        return {axis: study.baselines[self.name] for axis in self.axes}

    def places(self, study: Study) -> Iterator[dict[str, str]]:
        """The values of `place` in a study."""
        yield {}

    def data(self, study: Study, place: dict[str, str]) -> list[str]:
        """The data sets that it is read of at a place."""
        if "model" in place:
            return study.data_of(place["model"])
        return [data for medium in self.media for data in study.data_that_hold(medium)]

    def inputs(self, study: Study, shards: Iterable[int], data: str, **place: str) -> list[str]:
        """The files, beside the examples, that `load` reads of a data set, which lies in `shards`."""
        return []

    @abstractmethod
    def load(self, stored: Stored, pooling: str | None) -> Features:
        """The features of a data set, pooled in one way."""

    def space(self, train: Features, pooling: str | None, threshold: str | None) -> Space:
        """The space fitted on the features of training rows: standardised, where a kind does not say otherwise."""
        return Standardised(train)

    @property
    def reads_sae(self) -> bool:
        """Are latents among its columns?"""
        return "width" in self.place

    @property
    def transfer_axes(self) -> tuple[str, ...]:
        """The axes of a transferred cell: all latents are used there."""
        return tuple(axis for axis in self.axes if axis != "selection")

    @property
    def path(self) -> str:
        """The file of a part of a cell of a kind of probe."""
        return paths.probe(self.name, self.place, self.axes)

    @property
    def regimes_path(self) -> str:
        """The file of a part of the cells of a kind of probe, in every regime."""
        return paths.regimes(self.name, self.place)

    @property
    def transfer_path(self) -> str:
        """The file of a part of a transferred cell."""
        return paths.transfer(self.name, self.place, self.transfer_axes)

    def cells(self, study: Study, axes: tuple[str, ...]) -> list[dict[str, str]]:
        """Every combination of the values of `axes` in a study."""
        values = self.values(study)
        return [dict(zip(axes, one, strict=True)) for one in product(*(values[axis] for axis in axes))]
