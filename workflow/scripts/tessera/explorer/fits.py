"""What every cell said of every test example, and what each example adds to its score."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tessera.base.files import row_groups
from tessera.features.registry import kind
from tessera.probes.influence import macro_f1
from tessera.study.grid import CELL

SHOWN_WEIGHTS = 20  # latents of largest weight, of each class of a cell
ROWS = ["repeat", "split", "example"]  # of a test example, in this order


def name_of(cell: dict) -> str:
    """The short name of a cell, as targets take it: kind of features, place, data set, axes, kind of probe."""
    one = kind(cell["features"])
    return "/".join(str(cell[key]) for key in ("features", *one.place, "data", *one.axes, "probe"))


class Said:
    """What all cells said of one data set.

    tests: repeat, split, example, id, group and label of each test example, in the order in which fits list them.
    """

    def __init__(self, predictions: str | Path, cells: pl.DataFrame, data: str):
        self.cells = cells.filter(data=data).select(CELL).unique(maintain_order=True)
        columns = pl.scan_parquet(predictions).filter(data=data)
        first = columns.filter(*(pl.col(name).eq_missing(self.cells[name][0]) for name in CELL), draw=0)
        self.tests = first.select(*ROWS, "id", "group", "label").sort(ROWS).collect(engine="streaming")
        told = columns.select(pl.col("label", "predicted").unique().implode()).collect(engine="streaming")
        self.classes = sorted({*told["label"][0], *told["predicted"][0]})
        self.label_of = self.tests.select("repeat", "split", label=self._number("label"))
        confidence = pl.col("probability").list.max().cast(pl.Float32)
        # A cell is one number here: its nine names take ten times the memory.
        numbered = columns.join(self.cells.with_row_index("cell").lazy(), on=CELL, nulls_equal=True)
        rows = numbered.select("cell", "draw", *ROWS, predicted=self._number("predicted"), confidence=confidence)
        self.rows = rows.collect(engine="streaming")

    def _number(self, column: str) -> pl.Expr:
        return pl.col(column).cast(pl.Enum(self.classes)).to_physical()

    def fits(self) -> Iterator[tuple[dict, pl.DataFrame]]:
        """Each cell and its fits: a row per draw, repeat and split, with lists over the test examples there."""
        labels = {key: rows["label"].to_numpy() for key, rows in self.label_of.group_by("repeat", "split")}
        for number, cell in enumerate(self.cells.iter_rows(named=True)):
            fits = []
            ordered = self.rows.filter(cell=number).sort("draw", *ROWS)
            for (draw, repeat, split), part in ordered.group_by("draw", "repeat", "split", maintain_order=True):
                value, influence_E = macro_f1(labels[repeat, split], part["predicted"].to_numpy())
                fits.append(
                    {"draw": draw, "repeat": repeat, "split": split, "macro_f1": value}
                    | {"predicted": part["predicted"], "confidence": part["confidence"], "influence": influence_E}
                )
            yield cell, pl.DataFrame(fits)


def largest_weights(coefficients: str | Path) -> dict[str, pl.DataFrame]:
    """Short name of a cell → class, latent, weight: the largest of each class, of the first draw and repeat."""
    kept = []
    for group in filter(len, row_groups(coefficients)):
        rows = pl.from_arrow(group).filter(pl.col("latent") >= 0, draw=0, repeat=0)
        kept.append(_largest(rows.select(*CELL, "class", "latent", "weight")))
    found = _largest(pl.concat(kept)) if kept else pl.DataFrame()
    return {
        name_of(dict(zip(CELL, cell, strict=True))): rows.select("class", "latent", "weight")
        for cell, rows in (found.group_by(CELL, maintain_order=True) if len(found) else ())
    }


def _largest(rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort(pl.col("weight").abs(), descending=True, maintain_order=True)
    return ordered.group_by(*CELL, "class", maintain_order=True).head(SHOWN_WEIGHTS)
