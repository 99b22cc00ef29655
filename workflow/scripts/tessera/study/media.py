"""Texts and images: what a data set holds, what a model reads, and which goes with which."""

from tessera.base.errors import TesseraError


def holds(dataset: dict) -> str:
    """What a data set holds: text or image."""
    return "image" if {"image", "pixels"} & dataset.keys() else "text"


def reads(model: dict) -> str:
    """What a model reads: text or image."""
    return model.get("reads", "text")


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
