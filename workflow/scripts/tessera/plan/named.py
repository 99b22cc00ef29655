"""What the rules of single cells ask, whom a user names: two to compare, one for its learning curve, or to export."""

from pathlib import Path

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.features.registry import kind
from tessera.plan import models, saes
from tessera.plan.cells import every_cell, inputs
from tessera.probes.registry import LOGISTIC
from tessera.study import paths
from tessera.study.media import holds
from tessera.study.study import Study

TABLES = ("differences", "examples")
BEST = "best"  # best,<data set>: the cell to export is that of the best cross-validated score


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


def exports(study: Study, cell: str) -> list[str]:
    """The folders of exported probes: of the cell that is named, else of the best of each data set.

    Raises:
        TesseraError: it names no one cell, or one that is not of latents of texts.
    """
    if cell:
        return [paths.EXPORT.format(cell=_folder(_of_latents(study, cell)))]
    of_texts = [data for data in study.datasets if _candidates(study, f"{BEST},{data}")]
    if not of_texts:
        raise TesseraError("there is no SAE on a data set of texts, so there is no probe to export")
    return [paths.EXPORT.format(cell=f"{BEST},{data}") for data in of_texts]


def _of_latents(study: Study, cell: str) -> dict[str, str]:
    here = place(study, cell)
    if not kind(here["features"]).latents or holds(study.datasets[here["data"]]) != "text":
        raise TesseraError(f"cell={cell}: only probes on latents of texts can be exported; name one that begins sae/")
    if here["probe"] != LOGISTIC:
        raise TesseraError(f"cell={cell}: only logistic regression can be exported; name one that ends in /{LOGISTIC}")
    if study.drawn(here["model"], here["width"])[2]:
        raise TesseraError(f"cell={cell}: a further draw of its SAE or model; name the first, without .draw")
    return here


def _candidates(study: Study, cell: str) -> list[dict[str, str]]:
    """The cells among which the one to export is chosen."""
    best, _, data = cell.partition(",")
    if best != BEST:
        return [_of_latents(study, cell)]
    if holds(study.datasets[data]) != "text":
        return []
    found = [hive.keys(file) for file in hive.at(every_cell(study, "scores", "sae"), data=data, probe=LOGISTIC)]
    first = [here for here in found if study.drawn(here["model"], here["width"])[2] == 0]
    trained = [here for here in first if study.frozen(here["model"], here["width"]) is None]
    return [here for here in trained if here["model"] not in study.controls]


def export_cells(study: Study, cell: str) -> list[str]:
    """Scores and coefficients of those cells."""
    path = kind("sae").path
    return [path.format(part=part, **here) for here in _candidates(study, cell) for part in ("scores", "coefficients")]


def export_examples(study: Study, cell: str) -> str:
    return paths.EXAMPLES.format(**_candidates(study, cell)[0])


def _saes(study: Study, cell: str) -> list[dict[str, str]]:
    """Model, layer and width of the SAEs of those cells, each once."""
    keys = dict.fromkeys((here["model"], here["layer"], here["width"]) for here in _candidates(study, cell))
    return [dict(zip(("model", "layer", "width"), values, strict=True)) for values in keys]


def export_encoders(study: Study, cell: str) -> list[str]:
    return [paths.ENCODER.format(**one) for one in _saes(study, cell)]


def export_weights(study: Study, cell: str) -> list[str]:
    return list(dict.fromkeys(models.weights(study, one["model"]) for one in _saes(study, cell)))


def export_folders(study: Study, cell: str) -> list[str]:
    """Those of their models that the workflow makes."""
    made = (models.folder(study, one["model"]) for one in _saes(study, cell))
    return list(dict.fromkeys(folder for folder in made if folder))


def export_trained(study: Study, cell: str) -> list[str]:
    """The folders of those SAEs that are trained here."""
    every = (saes.trained_here(study, **one) for one in _saes(study, cell))
    return list(dict.fromkeys(folder for folder in every if folder))


def export_files(study: Study, cell: str) -> list[str]:
    """The files of those SAEs that are the user's own."""
    return list(dict.fromkeys(file for one in _saes(study, cell) for file in saes.files(study, **one)))


def export_origins(study: Study, cell: str) -> list[dict]:
    """By value what an export says of each of those SAEs and its model."""
    return [
        {
            **one,
            "model_identity": models.identity(study, one["model"]),
            "made": models.folder(study, one["model"]) or None,
            "stored": models.stored(study, one["model"]),
            "hook": saes.hook(study, one["model"]),
            "release": saes.release(study, **one),
            "sae": saes.trained_here(study, **one) or str(Path(*saes.files(study, **one)[:1]).parent),
        }
        for one in _saes(study, cell)
    ]
