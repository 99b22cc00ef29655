"""What the rules of SAEs ask: where each comes from, what it is trained on, how good it must be."""

import hashlib
import json

from tessera.study import paths, releases, untrained
from tessera.study.config import sae_folder
from tessera.study.grid import parse_width, split_width
from tessera.study.study import Study


def entry(study: Study, model: str, width: str) -> dict:
    """The entry of saes that an SAE of a model comes from; of a borrowed one, that of the model it is of."""
    return study.saes[study.sae_entry(*study.sae_owner(model, width))]


def is_trained(study: Study, model: str, width: str) -> bool:
    return "train" in entry(study, model, width)


def latents(study: Study, width: str) -> int:
    return parse_width(width)


def device(study: Study, model: str) -> str:
    return study.models[model]["device"]


def hook(study: Study, model: str) -> str | None:
    """What of a block the config says that SAEs read."""
    return study.models[model].get("hook")


def cache_name(recipe: dict) -> str:
    """Name of the cache of what an SAE is trained on: entries of saes with the same texts and tokens share one."""
    return hashlib.sha256(json.dumps([recipe["texts"], recipe["tokens"]]).encode()).hexdigest()[:12]


def _cached(study: Study, texts: str) -> dict:
    recipes = (one["train"] for one in study.saes.values() if "train" in one)
    return next(recipe for recipe in recipes if cache_name(recipe) == texts)


def training_examples(study: Study, texts: str) -> list[str]:
    return [paths.EXAMPLES.format(data=data) for data in _cached(study, texts)["texts"]]


def tokens(study: Study, texts: str) -> int:
    return _cached(study, texts)["tokens"]


def hooks(study: Study, texts: str, model: str, **wildcards: str) -> dict[int, str]:
    """layer → hook of each layer of a pass that trains SAEs on these texts."""
    wanted = {
        layer
        for layer, width in cells(study, model, **wildcards)
        if is_trained(study, model, width) and cache_name(entry(study, model, width)["train"]) == texts
    }
    return {layer: hook(study, model) or "resid_post" for layer in sorted(wanted)}


def recipe(study: Study, model: str, width: str) -> dict:
    """How an SAE is trained."""
    aside, one = ("texts", "tokens", "draws"), entry(study, model, width)
    train = {key: value for key, value in one["train"].items() if key not in aside}
    if "as_sparse_as" in one:
        l0 = releases.find(*one["as_sparse_as"])[1]
        train |= {"k": max(1, round(l0 * untrained.DRAWS))} if l0 else {}
    return {"seed": study.seed, **train, "hook": hook(study, model) or "resid_post"}


def architecture(study: Study, model: str, width: str) -> str:
    return entry(study, model, width)["train"]["architecture"]


def residuals(study: Study, model: str, layer: str, width: str) -> str:
    """The cache that holds what an SAE is trained on, or measured on."""
    place = {"model": model, "pass": study.pass_of(model, layer, width)}
    return paths.RESIDUALS.format(texts=cache_name(entry(study, model, width)["train"]), **place)


def trained(study: Study, model: str, layer: str, width: str) -> str:
    """The folder of an SAE trained here: its own, or that of the model it is borrowed from."""
    owner, width = study.sae_owner(model, width)
    return paths.TRAINED.format(model=owner, layer=layer, width=width)


def trained_here(study: Study, model: str, layer: str, width: str) -> str | list:
    """The folder of an SAE that this workflow trains; none of one that is there."""
    return trained(study, model, layer, width) if is_trained(study, model, width) else []


def files(study: Study, model: str, layer: str, width: str) -> list[str]:
    """The user's own files, as SAELens saved them; none for an SAE that is trained here or published."""
    one = entry(study, model, width)
    if "path" not in one:
        return []
    return [str(sae_folder(one, layer, width) / name) for name in ("cfg.json", "sae_weights.safetensors")]


def release(study: Study, model: str, layer: str, width: str) -> list[str] | None:
    """Release and id of a published SAE, or None."""
    one = entry(study, model, width)
    return [one["release"], _published(one, layer, width)[0]] if "release" in one else None


def _published(one: dict, layer: str, width: str) -> tuple[str, float | None]:
    return releases.find(one, layer, split_width(width)[0])


def trained_on(study: Study, model: str, width: str) -> str | None:
    """What the SAE's metadata must name as its model; None where the model is a folder, which has no name."""
    owner, _ = study.sae_owner(model, width)
    return entry(study, model, width).get("trained_on", study.models[study.architecture(owner)].get("hub"))


def cells(study: Study, model: str, **wildcards: str) -> list[list]:
    """[layer, width] of each SAE of one pass of one model."""
    one_pass = study.models[model]["passes"][int(wildcards["pass"])]  # a word of Python's own
    return [[int(layer), width] for layer, widths in one_pass.items() for width in widths]


def encoders(study: Study, model: str, **wildcards: str) -> list[str]:
    """The prepared SAEs of a pass, in the order of `cells`."""
    return [
        paths.ENCODER.format(model=model, layer=layer, width=width) for layer, width in cells(study, model, **wildcards)
    ]


def cells_along(study: Study, model: str) -> list[list]:
    """[layer, width] of each SAE beside whose hidden states tokens are kept: they are read where it reads."""
    passes = [(layer, study.pass_of(model, layer)) for layer in study.models[model].get("token_states", ())]
    return [[int(layer), width] for layer, number in passes for width in study.models[model]["passes"][number][layer]]


def read_along(study: Study, model: str) -> list[str]:
    """These, prepared, in the same order."""
    return [paths.ENCODER.format(model=model, layer=layer, width=width) for layer, width in cells_along(study, model)]


def digests(study: Study, model: str, **wildcards: str) -> list[str]:
    """Their digests, in the same order."""
    return [
        paths.DIGEST.format(model=model, layer=layer, width=width) for layer, width in cells(study, model, **wildcards)
    ]


def layers(study: Study, model: str, **wildcards: str) -> list[int]:
    """The layers of one pass of one model."""
    return sorted(map(int, study.models[model]["passes"][int(wildcards["pass"])]))


def qualities(study: Study) -> list[str]:
    """Where the quality of every SAE trained here is, and of those that are borrowed."""
    found = []
    for cell in study.sae_cells():
        if is_trained(study, cell["model"], cell["width"]):
            own = study.sae_owner(cell["model"], cell["width"])[0] == cell["model"]
            found.append((paths.QUALITY if own else paths.BORROWED).format(**cell))
    return found


def published_l0(study: Study) -> list[list]:
    """[model, layer, width, L0] of every published SAE."""
    found = []
    for cell in study.sae_cells():
        one = entry(study, cell["model"], cell["width"])
        if "release" in one:
            place = cell["model"], int(cell["layer"]), cell["width"]
            found.append([*place, _published(one, cell["layer"], cell["width"])[1]])
    return found
