"""Checks of models, data sets and scenarios against one another: texts go with texts, images with images."""

from tessera.base.errors import TesseraError
from tessera.study.media import holds, reads
from tessera.study.study import Study


def check_model(name: str, study: Study) -> None:
    """A model has data sets of what it reads, and learns from no others."""
    model = study.models[name]
    medium = reads(model)
    if not study.data_of(name):
        raise TesseraError(f"config key models.{name}: it reads {medium}s, and no data set holds any")
    for data in model.get("data", []):
        check_learns(f"models.{name}.data", name, data, study)
    if "prompt" in model and medium == "text":
        raise TesseraError(f"config key models.{name}.prompt: only a model with reads: image has a prompt")
    if model["chat"] and medium == "image":
        raise TesseraError(f"config key models.{name}.chat: only texts are read in a chat template; drop this key")
    if "tuned" in model:
        check_learns(f"models.{name}.tuned.data", name, model["tuned"]["data"], study)
    if "config" in model.get("tuned", {}) and medium == "text":
        raise TesseraError(
            f"config key models.{name}.tuned.config: a text model needs the tokenizer of another; only one "
            f"with reads: image starts from its config"
        )


def check_read(name: str, study: Study) -> None:
    """Something of a model is read: layers in passes, its sentence embeddings, or both; and layers of one at least."""
    embedded = name in study.baselines["embeddings"]
    if embedded and reads(study.models[name]) == "image":
        raise TesseraError(f"config key baselines.embeddings: {name!r} reads images; only texts have such embeddings")
    if not study.models[name]["passes"] and not embedded:
        raise TesseraError(
            f"config key models.{name}.passes: empty or missing; only a model in baselines.embeddings needs none"
        )
    if not any(model["passes"] for model in study.models.values()):
        raise TesseraError("config key models: none has passes; give one a layer to read: passes: [{1: []}]")


def check_learns(key: str, name: str, data: str, study: Study) -> None:
    """`data`, which `key` says that model `name` learns from, holds what it reads."""
    held, medium = holds(study.datasets[data]), reads(study.models[name])
    if held != medium:
        raise TesseraError(f"config key {key}: {data!r} holds {held}s, and the model {name!r} reads {medium}s")


def check_datasets(study: Study) -> None:
    """Every data set has a model that reads it."""
    media = {reads(model) for model in study.models.values()}
    for name, dataset in study.datasets.items():
        if holds(dataset) not in media:
            raise TesseraError(
                f"config key datasets.{name}: it holds {holds(dataset)}s, and no model reads any; a vision model says "
                f"reads: image"
            )


def check_answers(name: str, dataset: dict, study: Study) -> None:
    """A data set that a model answers holds texts, and the model reads them."""
    model = dataset["answered"]["model"]
    if holds(dataset) == "image" or reads(study.models[model]) == "image":
        raise TesseraError(
            f"config key datasets.{name}.answered: it holds {holds(dataset)}s and {model!r} reads "
            f"{reads(study.models[model])}s; models answer texts only"
        )


def check_scenario(key: str, used: list[str], datasets: dict) -> None:
    """The data sets of a transfer are of one kind."""
    if len({holds(datasets[data]) for data in used}) > 1:
        raise TesseraError(f"config key {key}: {', '.join(dict.fromkeys(used))} are texts and images, not of one kind")
