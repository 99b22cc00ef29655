"""The search behind a contestant: which of its cells is best in each repeat, and what a smaller search would find.

A cell is chosen by its cross-validated macro F1, the mean over its draws, inside the training split of the same repeat:
a choice by the mean over repeats would see, in one, the test labels of another.
"""

from math import comb

import numpy as np
import polars as pl

from tessera.probes.influence import chance_macro_f1, macro_f1, summed
from tessera.probes.verdicts import Scored
from tessera.study.grid import CELL

SEARCHED = {"cells_searched": pl.Int64, "macro_f1": pl.Float64}  # columns of a curve
FIT = ("draw", "repeat")  # of a cell


def ranked(scores: pl.DataFrame, place: list[str] = CELL) -> dict[int, list[tuple]]:
    """Repeat → cells of one data set, best first; ties in the order of the table."""
    mean = scores.group_by("repeat", *place, maintain_order=True).agg(pl.col("cv_macro_f1").mean())
    ordered = mean.sort("cv_macro_f1", descending=True, nulls_last=True, maintain_order=True)
    return {repeat: rows.select(place).rows() for (repeat,), rows in ordered.group_by("repeat", maintain_order=True)}


def chances(cells: int, budget: int) -> np.ndarray:
    """The chance [cells] of each rank, best first, to be the best of `budget` cells drawn from all."""
    return np.array([comb(cells - 1 - rank, budget - 1) / comb(cells, budget) for rank in range(cells)])


class TestSplit:
    """What every cell said of one test split, in each draw and repeat.

    `predictions` has the columns of `place`, draw, repeat, id, group, label and predicted; rows of a fit in one order.
    """

    __test__ = False

    def __init__(self, predictions: pl.DataFrame, place: list[str] = CELL):
        self.place = place
        self.repeats = predictions["repeat"].unique().sort().to_list()
        groups = predictions.group_by("group").agg(pl.col("id").min()).sort("id")
        self.groups = groups["id"].to_list()  # by their smallest id
        number = dict(zip(groups["group"], range(len(groups)), strict=True))
        names = pl.concat([predictions["label"], predictions["predicted"]]).unique().sort()
        coded = predictions.select(
            *place,
            *FIT,
            pl.col("label", "predicted").replace_strict(names, range(len(names)), return_dtype=pl.Int32),
            group=pl.col("group").replace_strict(number, return_dtype=pl.Int64),
        )
        self.said: dict[tuple, tuple[np.ndarray, ...]] = {}
        self.draws: dict[tuple, list[int]] = {}
        for (*cell, draw, repeat), rows in coded.group_by(*place, *FIT, maintain_order=True):
            self.said[tuple(cell), draw, repeat] = tuple(
                rows[name].to_numpy() for name in ("label", "predicted", "group")
            )
            drawn = self.draws.setdefault(tuple(cell), [])
            drawn += [draw] if draw not in drawn else []

    @property
    def examples(self) -> int:
        """Examples that a repeat tests; of repeats that differ, the mean."""
        sizes = {repeat: len(label_E) for (_, _, repeat), (label_E, *_) in self.said.items()}
        return round(np.mean(list(sizes.values())))

    def scored(self, ranking: dict[int, list[tuple]], budget: int | None = None, score=macro_f1) -> Scored:
        """The expected score of the best of `budget` cells of a ranking; of the best of all without it."""
        draws = max(len(self.draws[cell]) for cells in ranking.values() for cell in cells)
        value_DR = np.zeros((draws, len(self.repeats)))
        influence_RG = np.zeros((len(self.repeats), len(self.groups)))
        for column, repeat in enumerate(self.repeats):
            cells = ranking[repeat]
            for cell, chance in zip(cells, chances(len(cells), budget or len(cells)), strict=True):
                if chance == 0:
                    continue
                for draw in range(draws):
                    own = self.draws[cell]
                    label_E, predicted_E, group_E = self.said[cell, own[draw % len(own)], repeat]
                    value, influence_E = score(label_E, predicted_E)
                    value_DR[draw, column] += chance * value
                    influence_RG[column] += chance / draws * summed(influence_E, group_E, len(self.groups))
        drawn = {cell for cells in ranking.values() for cell in cells if len(self.draws[cell]) > 1}
        return Scored(value_DR, influence_RG, frozenset(map(self._owner, drawn)))

    def _owner(self, cell: tuple) -> tuple:
        """What of a cell is drawn: the weights of its model, the dictionary of its width."""
        return tuple(cell[self.place.index(key)] for key in ("model", "layer", "width") if key in self.place)

    def chance(self, ranking: dict[int, list[tuple]]) -> Scored:
        """Of predictions as frequent as those of the best cells that know nothing of the labels."""
        return self.scored(ranking, score=chance_macro_f1)

    def check(self, left: dict[int, list[tuple]], right: dict[int, list[tuple]]) -> None:
        """Were the best cells of two rankings scored on the same examples?"""
        for repeat in self.repeats:
            sides = [self.said[side[repeat][0], self.draws[side[repeat][0]][0], repeat] for side in (left, right)]
            if not all(np.array_equal(sides[0][part], sides[1][part]) for part in (0, 2)):
                raise ValueError(f"{left[repeat][0]}, {right[repeat][0]}: scored on different examples")


def curve(scores: pl.DataFrame) -> pl.DataFrame:
    """Macro F1 on the test split to expect of the best of k cells of one data set: a row per k = 1 … all.

    Averaged over draws and repeats; `scores` has the rows of one contestant's cells.
    """
    mean = scores.group_by("repeat", *CELL, maintain_order=True).agg(pl.col("cv_macro_f1", "macro_f1").mean())
    ordered = mean.sort("cv_macro_f1", descending=True, nulls_last=True, maintain_order=True)
    f1_RK = np.array([rows["macro_f1"].to_numpy() for _, rows in ordered.group_by("repeat", maintain_order=True)])
    cells = f1_RK.shape[1]
    found = [float((f1_RK @ chances(cells, budget)).mean()) for budget in range(1, cells + 1)]
    return pl.DataFrame({"cells_searched": range(1, cells + 1), "macro_f1": found}, schema=SEARCHED)
