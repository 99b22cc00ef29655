"""What the rules of examples ask: sources, answers, sizes."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from tessera.base import hive
from tessera.examples.examples import count_examples
from tessera.plan import models
from tessera.study import paths
from tessera.study.study import Study


def count(study: Study) -> None:
    """Count the examples of every data set, checking every row on the way: for whoever plans a run."""
    for data in study.datasets:
        study.sizes[data] = count_examples(data, study)


def read_sizes(study: Study, files: Iterable[str]) -> None:
    """Read the sizes off the files of examples that are there: for a job in a process of its own.

    They are there before anything that depends on them.
    """
    for file in files:
        if Path(file).is_file():
            study.sizes[hive.keys(file)["data"]] = pq.read_metadata(file).num_rows


def size(study: Study, data: str) -> int:
    """How many examples a data set has, as the run was planned."""
    if data not in study.sizes:
        study.sizes[data] = count_examples(data, study)
    return study.sizes[data]


def repeats(study: Study, data: str) -> int:
    """How often a data set's split is drawn: once where it is its own, or a model has learnt its labels."""
    tuned = {model["tuned"]["data"] for model in study.models.values() if "tuned" in model}
    return 1 if "split" in study.datasets[data] or data in tuned else study.repeats


def answered(study: Study, data: str) -> bool:
    """Does a model make the labels of a data set?"""
    return "answered" in study.datasets[data]


def spec(study: Study, data: str) -> dict:
    """A data set's entry; where a model makes the labels, that of the table with its answers, but for its path."""
    entry = study.datasets[data]
    if not answered(study, data):
        return {key: value for key, value in entry.items() if key != "behaviour_of"}
    kept = {key: entry[key] for key in ("text", "group", "split") if key in entry}
    return {**kept, "label": "answer", "id": "id"}


def prompts(study: Study, data: str) -> dict:
    """The entry of a data set whose labels a model makes."""
    return study.datasets[data]


def answers(study: Study, data: str) -> str | list:
    """The table of a model's answers, which a data set's examples are read from; none where they have labels."""
    return paths.ANSWERS.format(data=data) if answered(study, data) else []


def files(study: Study, data: str) -> list[str]:
    """The local files of a data set (those of pinned packages apart)."""
    entry = study.datasets[data]
    parts = [part["path"] for part in (entry, *entry.get("shifts", {}).values()) if "path" in part]
    return [path for path in parts if not path.startswith("package:")]


def _model(study: Study, data: str) -> str:
    return study.datasets[data]["answered"]["model"]


def answering(study: Study, data: str) -> dict:
    """Identity of the model that answers."""
    return models.identity(study, _model(study, data))


def answering_weights(study: Study, data: str) -> str:
    return models.weights(study, _model(study, data))


def answering_folder(study: Study, data: str) -> str | list:
    return models.folder(study, _model(study, data))


def examples(study: Study, several: Iterable[str] | None = None) -> list[str]:
    """The examples of several data sets, or of all."""
    return [paths.EXAMPLES.format(data=data) for data in (study.datasets if several is None else several)]
