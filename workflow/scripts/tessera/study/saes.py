"""SAEs that models share: borrowed ones, pairs to match, and the random ones that control them."""

from tessera.base.errors import TesseraError
from tessera.study import checks, untrained
from tessera.study.grid import split_width
from tessera.study.study import Study

SIDES = ("a", "b")
# Where nothing says otherwise.
UNTRAINED = {"k": 32, "tokens": 60_000, "steps": 0, "batch_tokens": 512, "learning_rate": 0.003}


def check_borrowed(key: str, name: str, layer: str, width: str, study: Study) -> None:
    """Is there an SAE of this layer and width that is the other model's own, and read at the same place?

    Raises:
        TesseraError: says what is missing.
    """
    owner, bare = study.sae_owner(name, width)
    borrowed = study.sae_entry(name, width)
    entry, other = f"saes.{borrowed}.of", study.models[owner]
    if "trained_on" in study.saes[borrowed]:
        raise TesseraError(f"config key saes.{borrowed}.trained_on: that is said where the SAEs of {owner} come from")
    if not any(bare in one_pass.get(layer, []) for one_pass in other["passes"]):
        raise TesseraError(f"config key {key}: {owner}, whose SAE this is, has no width {bare} at layer {layer}")
    if "of" in study.saes.get(other.get("saes"), {}):
        raise TesseraError(
            f"config key {entry}: the SAEs of {owner} are borrowed themselves; name the model they are of"
        )
    if study.models[name].get("hook") != other.get("hook"):
        raise TesseraError(f"config key models.{name}.hook: not that of {owner}, whose SAE it uses at layer {layer}")


def same_sae(match: dict, study: Study) -> bool:
    """Have both sides of a match the very same SAE, so that latent i of one is latent i of the other?"""
    owners = [study.sae_owner(match[side]["model"], match[side]["width"]) for side in SIDES]
    entries = [study.sae_entry(model, width) for model, width in owners]
    bare = [(match[side]["layer"], split_width(width)[0]) for side, (_, width) in zip(SIDES, owners, strict=True)]
    trained = any("train" in study.saes[entry] for entry in entries)
    return bare[0] == bare[1] and entries[0] == entries[1] and (owners[0] == owners[1] or not trained)


def check_match(key: str, match: dict, study: Study) -> None:
    """Are both sides SAEs of the grid?

    Raises:
        TesseraError: names the side, and what there is.
    """
    for side in SIDES:
        cell = match[side]
        for data in [*match["texts"], *match["data"]]:
            checks.check_learns(f"{key}.{'texts' if data in match['texts'] else 'data'}", cell["model"], data, study)
        passes = study.models[cell["model"]]["passes"]
        there = [f"{layer}: {width}" for one in passes for layer, widths in one.items() for width in widths]
        if f"{cell['layer']}: {cell['width']}" not in there:
            raise TesseraError(
                f"config key {key}.{side}: {cell['model']} has no layer {cell['layer']} with width {cell['width']} in "
                f"its passes; there: {', '.join(there) or 'none with an SAE'}"
            )
    if match["a"] == match["b"]:
        raise TesseraError(f"config key {key}: a and b are the same SAE of the same model")
    if not same_sae(match, study) and _start(match["a"], study) == _start(match["b"], study) is not None:
        raise TesseraError(
            f"config key {key}: both SAEs are trained from the same start (one seed, and the same texts but for frozen "
            f"ones), which alone makes their latents alike; give the entry of saes of one of them another seed"
        )


def _start(cell: dict, study: Study) -> tuple | None:
    """What decides where the training of an SAE starts; None for one that is not trained here."""
    model, width = study.sae_owner(cell["model"], cell["width"])
    recipe = study.saes[study.sae_entry(model, width)].get("train")
    aimed = () if recipe is None or "freeze" in recipe else (recipe["texts"], recipe["tokens"])
    return recipe and (recipe.get("seed", study.seed), *aimed)


def add_random(study: Study) -> None:
    """Give each match its random SAEs (`untrained`), on either side.

    Where both sides have the same SAE, both have the same random weights.

    Raises:
        TesseraError: an entry of saes has the name of one.
    """
    for name in study.saes:
        if untrained.is_random(name):
            raise TesseraError(f"config key saes.{name}: such a name is that of a random SAE of a match; rename it")
    for name, match in study.matches.items():
        passes: dict[str, dict[str, list[str]]] = {}
        apart = not same_sae(match, study)
        for side in SIDES:
            cell = match[side]
            width = untrained.width(name, cell, side)
            seed = untrained.seed(study.seed, name, side if apart else "")
            study.saes[split_width(width)[1]] = _untrained(cell, match["texts"], seed, study)
            passes.setdefault(cell["model"], {}).setdefault(cell["layer"], []).append(width)
        for model, one_pass in passes.items():
            study.models[model]["passes"].append(one_pass)


def _untrained(cell: dict[str, str], texts: list[str], seed: int, study: Study) -> dict:
    """The entry of an SAE like that of `cell`, all frozen: its thresholds on the same texts.

    as_sparse_as: the published SAE whose L0 it is to have (read when a job asks, for the directory takes a second).
    """
    owner, width = study.sae_owner(cell["model"], cell["width"])
    entry = study.saes[study.sae_entry(owner, width)]
    recipe = {**UNTRAINED, "texts": texts, **entry.get("train", {})}
    recipe.pop("draws", None)
    recipe["k"] *= untrained.DRAWS
    found = {"train": {**recipe, "architecture": "batchtopk", "freeze": "all", "seed": seed}}
    return found | ({"as_sparse_as": [entry, cell["layer"], split_width(width)[0]]} if "release" in entry else {})
