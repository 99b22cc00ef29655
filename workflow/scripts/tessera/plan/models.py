"""What the rules of models ask: identities, files, recipes of tuning."""

from pathlib import Path

from tessera.study import draws, paths
from tessera.study.gguf import is_gguf
from tessera.study.study import Study

# What of it only says how activations are kept.
STORED = ("activation_dtype", "pool_massive")
# What of a model's entry does not change what it computes at a hook.
ASIDE = ("passes", "saes", "data", "draws", "truth", "token_states", *STORED)
FILES = {".json", ".safetensors", ".model", ".txt", ".jinja", ".tiktoken"}  # kinds of files in a model's folder


def identity(study: Study, model: str) -> dict:
    """What of a model decides its activations, by value: its entry, and that of the model whose architecture it has."""
    entries = study.models[model], study.models[study.architecture(model)]
    spec, architecture = ({key: part for key, part in entry.items() if key not in ASIDE} for entry in entries)
    return {"name": model, "spec": spec, "architecture": architecture, "seed": draws.seed(model, study.seed)}


def within(identity: dict, root: Path) -> dict:
    """An identity whose model's folder or file, where it is relative, is so to `root`: the folder the study ran in."""
    source = identity["architecture"]
    if source.get("path", "package:").startswith("package:"):
        return identity
    return {**identity, "architecture": {**source, "path": str(root / source["path"])}}


def stored(study: Study, model: str) -> dict:
    """How a model's activations are kept."""
    return {key: study.models[model][key] for key in STORED}


def token_layers(study: Study, model: str) -> list[int]:
    """The layers whose hidden states are kept token by token."""
    return sorted(map(int, study.models[model].get("token_states", ())))


def weights(study: Study, model: str) -> str:
    """The file that says which weights a model has."""
    return paths.WEIGHTS.format(model=model)


def folder(study: Study, model: str) -> str | list:
    """The folder of a model that the workflow makes; none of one that is there."""
    owner = study.architecture(model)
    entry = study.models[owner]
    if "tuned" in entry:
        return paths.TUNED.format(model=owner)
    return paths.UNPACKED.format(model=owner) if is_gguf(entry.get("path", "")) else []


def packed(study: Study, model: str) -> dict:
    """The GGUF file that a model's folder is made of, and the hash that it must have, if any."""
    return {key: value for key, value in study.models[model].items() if key in ("path", "sha256")}


def files(study: Study, model: str) -> list[str]:
    """The files of a model in a folder of the user's, or their GGUF file, so that a change of them is noticed."""
    path = study.models[study.architecture(model)].get("path", "package:")
    if path.startswith("package:"):
        return []
    if is_gguf(path):
        return [path]
    return sorted(str(file) for file in Path(path).iterdir() if file.suffix in FILES)


def pooling_files(study: Study, model: str) -> list[str]:
    """What in a folder of the user's says, beside `files`, how its sentence embedding is made."""
    path = study.models[study.architecture(model)].get("path", "package:")
    if path.startswith("package:") or is_gguf(path):
        return []
    return sorted(str(file) for file in Path(path).glob("*/config.json"))


def recipe(study: Study, model: str) -> dict:
    """How a model is tuned."""
    tuned = study.models[model]["tuned"]
    return {"seed": study.seed, **{key: value for key, value in tuned.items() if key not in ("from", "config")}}


def base(study: Study, model: str) -> dict:
    """Identity of the model that a tuned one is a copy of, or of the new one itself."""
    return identity(study, study.models[model]["tuned"].get("from", model))


def base_weights(study: Study, model: str) -> str | list:
    """The file that says which weights that model has; none of a new one."""
    tuned = study.models[model]["tuned"]
    return weights(study, tuned["from"]) if "from" in tuned else []


def base_folder(study: Study, model: str) -> str | list:
    """The folder of that model, where the workflow makes it."""
    tuned = study.models[model]["tuned"]
    return folder(study, tuned["from"]) if "from" in tuned else []


def tuning_examples(study: Study, model: str) -> str:
    return paths.EXAMPLES.format(data=study.models[model]["tuned"]["data"])
