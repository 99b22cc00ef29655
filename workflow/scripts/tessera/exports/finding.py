"""The model that a probe reads: found where the study found it, or where the caller says, and of the same weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tessera.base.digests import sha256
from tessera.base.errors import TesseraError
from tessera.base.files import resolve
from tessera.models.embedding import Recipe, read_recipe
from tessera.models.loading import load_model
from tessera.models.parts import local_folder
from tessera.models.text import TextModel
from tessera.study.gguf import is_gguf


def load_same(
    identity: dict, weights: dict, depth: int | None, *, model: str | Path | None = None, made: Path | None = None
) -> TextModel:
    """Load the model of an identity, checked to have the study's weights.

    Args:
        identity: as of `load_model`, a relative path in it made absolute. weights: as of `identify`. depth: blocks; all
            of them where None.
        model: a folder, a GGUF file or a hub id, in place of what the identity says.
        made: the folder that the workflow made of it, if any.

    Raises:
        TesseraError: it is not there, or has other weights.
    """
    with _folder(identity, weights, model, made) as folder:
        _check(identity["name"], folder, weights)
        return load_model(identity, folder=folder, depth=depth)


def load_encoder(
    identity: dict, weights: dict, *, model: str | Path | None = None, made: Path | None = None
) -> tuple[TextModel, Recipe]:
    """The same of a model whose sentence embeddings are read, and how they are made."""
    with _folder(identity, weights, model, made) as folder:
        _check(identity["name"], folder, weights)
        return load_model(identity, folder=folder), read_recipe(identity["name"], folder)


@contextmanager
def _folder(identity: dict, weights: dict, model: str | Path | None, made: Path | None) -> Iterator[Path]:
    name, place = identity["name"], _place(identity, weights, model, made)
    if not is_gguf(place):
        yield place
        return
    from tessera.models.unpacking import unpack  # imports transformers' GGUF reader

    with TemporaryDirectory() as folder:
        unpack(name, place, Path(folder) / "model")
        yield Path(folder) / "model"


def _place(identity: dict, weights: dict, model: str | Path | None, made: Path | None) -> Path:
    """A folder, or a GGUF file."""
    source = identity["architecture"]
    if model is not None:
        if Path(model).exists():
            return Path(model)
        source = {"hub": str(model)}
    elif made is not None and made.is_dir():
        return made
    elif "path" in source and resolve(source["path"]).exists():
        return resolve(source["path"])
    if "hub" not in source:
        raise TesseraError(
            f"model {identity['name']}: {source.get('path', 'what the study tuned')!r} is not here; say where it is: "
            f"model= a folder, a GGUF file or a hub id"
        )
    try:
        return local_folder({**identity, "architecture": source}, None, weights["revision"])
    except TesseraError as error:
        reason = str(error).partition(": ")[2]
        raise TesseraError(f"model {identity['name']}: {reason}; say where it is: model= a folder") from error


def _check(name: str, folder: Path, weights: dict) -> None:
    """Are the files in `folder` those whose hashes, or is it the commit that, the study recorded?"""
    hashes = {item: value for _, _, item, value in weights["facts"] if value.startswith("sha256:")}
    wanted = {item: value for item, value in hashes.items() if not is_gguf(item)}
    for file, digest in wanted.items():
        if not (folder / file).is_file():
            raise TesseraError(f"model {name}: there is no file {str(folder / file)!r}; say where the model is: model=")
        if f"sha256:{sha256(folder / file)}" != digest:
            raise TesseraError(f"model {name}: {str(folder / file)!r} is not what the study read, which was {digest}")
    if not wanted and folder.resolve().name != weights["revision"]:
        raise TesseraError(
            f"model {name}: it cannot be told whether {str(folder)!r} is what the study read, commit "
            f"{weights['revision']} of the hub; give the hub's id, or the snapshot's folder in its cache"
        )
