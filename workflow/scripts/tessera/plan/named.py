"""What the rules of single cells ask, whom a user names: two to compare, and one for its learning curve."""

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.features.registry import kind
from tessera.plan.cells import every_cell, inputs
from tessera.study import paths
from tessera.study.study import Study

TABLES = ("differences", "examples")


def place(study: Study, wanted: str, key: str = "cell") -> dict[str, str]:
    """The place of the one cell that a short name names, given with `key`; or the name of its folder.

    Raises:
        TesseraError: it names none, or several.
    """
    every, wanted = every_cell(study, "scores"), wanted.replace(",", "/")
    found = [file for file in every if paths.is_within(file, wanted)]
    if len(found) != 1:
        example = paths.short_name((found or every)[0])
        many = f"{len(found)} cells, not one" if found else "no cell"
        raise TesseraError(f"{key}={wanted or '?'} names {many}; for example --config {key}={example}")
    return hive.keys(found[0])


def _folder(place: dict[str, str]) -> str:
    return ",".join(place.values())


def predictions(study: Study, key: str, left: str, right: str) -> str:
    """The predictions of the cell on one side."""
    here = place(study, {"left": left, "right": right}[key], key)
    return kind(here["features"]).path.format(part="predictions", **here)


def examples(study: Study, left: str) -> str:
    return paths.EXAMPLES.format(**place(study, left, "left"))


def comparison(study: Study, left: str, right: str) -> list[str]:
    """The files of a comparison.

    Raises:
        TesseraError: a side names no one cell, or they are of different data sets, or the same.
    """
    sides = {key: place(study, wanted, key) for key, wanted in (("left", left), ("right", right))}
    if sides["left"] == sides["right"]:
        raise TesseraError(f"left and right name the same cell, {left}; name two")
    sets = [side["data"] for side in sides.values()]
    if sets[0] != sets[1]:
        raise TesseraError(
            f"left is of the data set {sets[0]}, right of {sets[1]}; cells of one data set can be compared"
        )
    folders = {key: _folder(side) for key, side in sides.items()}
    return [
        paths.COMPARISON.format(table=table, format=format, **folders)
        for table in TABLES
        for format in ("parquet", "csv")
    ]


def curve(study: Study, cell: str) -> list[str]:
    """The files of a learning curve."""
    folder = _folder(place(study, cell))
    return [paths.LEARNING_CURVE.format(cell=folder, format=format) for format in ("parquet", "csv", "pdf", "png")]


def curve_examples(study: Study, cell: str) -> str:
    return paths.EXAMPLES.format(**place(study, cell))


def curve_features(study: Study, cell: str) -> list[str]:
    """What the job of the cell's probe reads, beside its examples."""
    here = place(study, cell)
    axes = kind(here["features"]).place
    return inputs(study, here["features"], here["data"], **{axis: here[axis] for axis in axes})
