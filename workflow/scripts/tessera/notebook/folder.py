"""The results of a finished study: tables as frames, names of cells, figures."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import yaml

from tessera.base.errors import TesseraError
from tessera.features.registry import kind
from tessera.results.catalogue import TABLES
from tessera.results.entries import Figure
from tessera.study import paths
from tessera.study.config import restore
from tessera.study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn


class NoTable(TesseraError, AttributeError):
    """What is asked for is no table of the study; `hasattr` says so too."""


class Results:
    """The folder `results` of a finished study, wherever it lies.

    Each table of the catalogue is an attribute of its name (`study.scores`): a polars DataFrame, or a LazyFrame of
    those that are large (predictions, coefficients, contexts …), to filter before `.collect()`. `dir(study)` has those
    that this study has; docs/tables.md explains their columns.
    """

    def __init__(self, results: str | Path):
        """Raises a TesseraError where the folder holds no tables."""
        self.folder = Path(results).absolute()
        if not self.tables:
            raise TesseraError(f"{str(results)!r} is no folder of results: it holds no tables; give a finished study's")

    def file(self, path: str) -> Path:
        """The file of one of the patterns of study/paths.py, which stand under `results`."""
        return self.folder.joinpath(*Path(path).parts[1:])

    @property
    def tables(self) -> list[str]:
        """The tables that the study has, in the order of the catalogue."""
        return [name for name in TABLES if self._table(name).is_file()]

    def _table(self, name: str) -> Path:
        return self.file(paths.TABLE.format(table=name, format="parquet"))

    def __getattr__(self, name: str) -> pl.DataFrame | pl.LazyFrame:
        if name.startswith("_") or name == "folder":  # what Python and notebooks ask every object for
            raise AttributeError(name)
        if name not in TABLES or not self._table(name).is_file():
            known = "this study has no table" if name in TABLES else "there is no table"
            raise NoTable(f"{known} {name!r}; it has {', '.join(self.tables)}")
        return pl.read_parquet(self._table(name)) if TABLES[name].csv else pl.scan_parquet(self._table(name))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.tables})

    def __repr__(self) -> str:
        return f"<study in {self.folder}: {len(self.cell_names)} cells; tables {', '.join(self.tables)}>"

    @cached_property
    def config(self) -> dict:
        """The config, every default filled in.

        Raises:
            TesseraError: the results hold none: an earlier version made them.
        """
        file = self.file(paths.STUDY)
        if not file.is_file():
            raise TesseraError(f"{file} is not there: copy it too, or make it where the study ran: snakemake scores")
        return yaml.safe_load(file.read_text(encoding="utf-8"))

    @cached_property
    def plan(self) -> Study:
        """The study as the rules see it."""
        return restore(self.config)

    @cached_property
    def cell_names(self) -> list[str]:
        """The short names of all cells: sae/smollm2/7/512/sst2/sum/1.0/none/logistic."""
        return [paths.short_name(file) for file in self._cells]

    @cached_property
    def _cells(self) -> dict[str, dict[str, str]]:
        """The file of each cell's scores → its place."""
        found = {}
        for row in self.cells.select("features", *_AXES).unique(maintain_order=True).iter_rows(named=True):
            one = kind(row["features"])
            place = {axis: str(row[axis]) for axis in (*one.place, "data", *one.axes, "probe")}
            found[one.path.format(part="scores", **place)] = {"features": one.name, **place}
        return found

    def place(self, name: str) -> dict[str, str]:
        """The axes and values of the cell of a short name: model/layer/width/data/pooling/threshold/selection/probe.

        In front the kind of features, or `sae` is meant; values may be left out at the end where one cell remains.

        Raises:
            TesseraError: it names no cell, or several.
        """
        found = [file for file in self._cells if _names(file, name)]
        if len(found) == 1:
            return self._cells[found[0]]
        many = f"{len(found)} cells, not one" if found else "no cell"
        example = paths.short_name((found or [*self._cells])[0])
        raise TesseraError(f"{name!r} names {many}; for example {example!r}")

    def figure(self, name: str, **place: str) -> "Drawn":
        """A figure of the study, as the workflow draws it: `figure("baselines")`, `figure("matrix", scenario="all")`.

        Args:
            place: values of the folder that it lies in, where the study has several of a name.

        Raises:
            TesseraError: the study has no such figure there, or several.
        """
        from tessera.report.drawing import draw  # imports matplotlib

        every = [(table, *one) for table in self.tables for one in TABLES[table].places(self.plan)]
        named = [(table, figure, where) for table, figure, where in every if figure.name == name]
        found = [one for one in named if {axis: str(value) for axis, value in place.items()}.items() <= one[2].items()]
        if len(found) != 1:
            several = ", ".join(_asked(figure, where) for _, figure, where in (found or named or every))
            raise TesseraError(f"{'several figures' if found else 'no figure'} of that name and place; give {several}")
        table, figure, where = found[0]
        return draw(figure.draw, pl.read_parquet(self._table(table)), where)


_AXES = ("model", "layer", "width", "data", "pooling", "threshold", "selection", "probe")


def _names(file: str, name: str) -> bool:
    wanted = name.strip("/")
    return any(paths.is_within(file, one) for one in (wanted, f"sae/{wanted}"))


def _asked(figure: Figure, place: dict[str, str]) -> str:
    return f"figure({', '.join([repr(figure.name), *(f'{axis}={value!r}' for axis, value in place.items())])})"
