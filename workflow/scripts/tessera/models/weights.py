"""What identifies a model's weights: a commit of the hub, or the hash of each file. Taken once per model."""

import json
from pathlib import Path

from tessera.base.digests import sha256
from tessera.base.errors import TesseraError
from tessera.base.files import resolve
from tessera.study.gguf import is_gguf

DIGESTS = "digests.json"  # in a folder made of a GGUF file: its hash, and those of what was made


def identify(identity: dict, folder: str | Path | None = None) -> dict:
    """`revision`, the commit of the hub that every job is to load (else None), and `facts` of origin.

    A fact is a list of kind, name, item and value: the commit, or the hash of each weight file of a folder (`folder`
    where the workflow made it) and of the GGUF file that it was made of; of a control the seed, and the hash of the
    config.

    Args:
        identity: as of `load_model`.

    Raises:
        TesseraError: the hub does not have the model, and neither has its cache; a file is not what `sha256` says, or
            is not as the workflow made it.
    """
    name, architecture = identity["name"], identity["architecture"]
    drawn = "control_of" in identity["spec"]
    facts = [["model", name, "weights", f"drawn from seed {identity['seed']}"]] if drawn else []
    if folder is None and "hub" in architecture:
        commit = hub_commit(name, architecture["hub"], architecture.get("revision"))
        facts.append(["model", name, f"hub {architecture['hub']}", f"commit {commit}"])
        return {"revision": commit, "facts": facts}
    place = resolve(architecture["path"]) if folder is None else Path(folder)
    pattern = "config.json" if drawn else "*.safetensors"
    hashes = {file.name: sha256(file) for file in sorted(place.glob(pattern))}
    if is_gguf(architecture.get("path", "")):
        origin = _check_made(place, pattern, hashes)
        hashes = hashes if drawn else origin | hashes
    elif "sha256" in architecture and not drawn:
        _check(name, place, architecture["sha256"], hashes.get("model.safetensors"))
    facts += [["model", name, file, f"sha256:{digest}"] for file, digest in hashes.items()]
    return {"revision": None, "facts": facts}


def read_weights(file: str | Path) -> dict:
    """What `identify` gave, from the file that the workflow keeps it in."""
    return json.loads(Path(file).read_text())


def hub_commit(name: str, repository: str, revision: str | None) -> str:
    """The commit that a revision (the default branch where None) of the model `name` is, from the hub or its cache."""
    from huggingface_hub import hf_hub_download  # only hub models need it

    try:
        return Path(hf_hub_download(repository, "config.json", revision=revision)).parent.name
    except Exception as error:  # the hub's client raises many kinds; each means that the model is not there
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TesseraError(
            f"config key models.{name}: {repository!r} cannot be had from the hub or its cache: {reason}"
        ) from error


def _check(name: str, folder: Path, wanted: str, found: str | None) -> None:
    if found is None:
        weights = folder / "model.safetensors"
        raise TesseraError(f"config key models.{name}.sha256: there is no file {str(weights)!r}")
    if found != wanted:
        raise TesseraError(f"config key models.{name}.sha256: model.safetensors in {str(folder)!r} has {found}")


def _check_made(folder: Path, pattern: str, found: dict[str, str]) -> dict[str, str]:
    """Name and hash of the GGUF file that `folder` was made of, whose files of a pattern are those that were made."""
    try:
        made = dict(json.loads((folder / DIGESTS).read_text()))
    except (OSError, ValueError, TypeError):
        made = {}
    if not found or found != {name: digest for name, digest in made.items() if Path(name).match(pattern)}:
        raise TesseraError(
            f"{folder} is not as it was made of a GGUF file; to rebuild it: rm -r {folder}, then the same command again"
        )
    return {name: digest for name, digest in made.items() if is_gguf(name)}
