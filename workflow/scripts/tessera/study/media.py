"""Texts and images: what a data set holds, what a model reads, and which goes with which."""

from tessera.base.errors import TesseraError


def holds(dataset: dict) -> str:
    """What a data set holds: text or image."""
    return "image" if {"image", "pixels"} & dataset.keys() else "text"


def reads(model: dict) -> str:
    """What a model reads: text or image."""
    return model.get("reads", "text")


def data_of(study: dict, model: str) -> list[str]:
    """The data sets that a model is run on: those that it names, or all that hold what it reads."""
    wanted = reads(study["models"][model])
    named = study["models"][model].get("data", study["datasets"])
    return [name for name, dataset in study["datasets"].items() if name in named and holds(dataset) == wanted]


def check_columns(study: dict) -> None:
    """Before defaults are filled in: a data set holds texts or images, not both."""
    datasets = study.get("datasets")
    for name, dataset in datasets.items() if isinstance(datasets, dict) else ():
        given = [key for key in ("text", "image", "pixels") if isinstance(dataset, dict) and key in dataset]
        if len(given) > 1:
            raise TesseraError(
                f"config key datasets.{name}: give one of text, image, pixels (there: {', '.join(given)})"
            )
        shifts = dataset.get("shifts") if isinstance(dataset, dict) else None
        for shift, entry in shifts.items() if isinstance(shifts, dict) else ():
            other = "text" if holds(dataset) == "image" else "image"
            if isinstance(entry, dict) and other in entry:
                raise TesseraError(
                    f"config key datasets.{name}.shifts.{shift}.{other}: the data set holds {holds(dataset)}s"
                )


def check_model(name: str, study: dict) -> None:
    """A model has data sets of what it reads, and learns from no others."""
    model = study["models"][name]
    kind = reads(model)
    if not data_of(study, name):
        raise TesseraError(f"config key models.{name}: it reads {kind}s, and no data set holds any")
    for data in model.get("data", []):
        check_learns(f"models.{name}.data", name, data, study)
    if "prompt" in model and kind == "text":
        raise TesseraError(f"config key models.{name}.prompt: only a model with reads: image has a prompt")
    if "tuned" in model:
        check_learns(f"models.{name}.tuned.data", name, model["tuned"]["data"], study)
    if "config" in model.get("tuned", {}) and kind == "text":
        raise TesseraError(
            f"config key models.{name}.tuned.config: a text model needs the tokenizer of another; only one "
            f"with reads: image starts from its config"
        )


def check_learns(key: str, name: str, data: str, study: dict) -> None:
    """`data`, which `key` says that model `name` learns from, holds what it reads."""
    held, kind = holds(study["datasets"][data]), reads(study["models"][name])
    if held != kind:
        raise TesseraError(f"config key {key}: {data!r} holds {held}s, and the model {name!r} reads {kind}s")


def check_datasets(study: dict) -> None:
    """Every data set has a model that reads it."""
    kinds = {reads(model) for model in study["models"].values()}
    for name, dataset in study["datasets"].items():
        if holds(dataset) not in kinds:
            raise TesseraError(
                f"config key datasets.{name}: it holds {holds(dataset)}s, and no model reads any; a vision model says "
                f"reads: image"
            )


def check_answers(name: str, dataset: dict, study: dict) -> None:
    """A data set that a model answers holds texts, and the model reads them."""
    model = dataset["answered"]["model"]
    if holds(dataset) == "image" or reads(study["models"][model]) == "image":
        raise TesseraError(
            f"config key datasets.{name}.answered: it holds {holds(dataset)}s and {model!r} reads "
            f"{reads(study['models'][model])}s; models answer texts only"
        )


def check_scenario(key: str, used: list[str], datasets: dict) -> None:
    """The data sets of a transfer are of one kind."""
    if len({holds(datasets[data]) for data in used}) > 1:
        raise TesseraError(f"config key {key}: {', '.join(dict.fromkeys(used))} are texts and images, not of one kind")
