"""Pairs of SAEs to match."""

from tessera.base.errors import TesseraError
from tessera.study import media
from tessera.study.grid import split_width
from tessera.study.sae_entries import sae_entry, sae_owner

SIDES = ("a", "b")


def same_sae(match: dict, study: dict) -> bool:
    """Have both sides of a match the very same SAE, so that latent i of one is latent i of the other?"""
    owners = [sae_owner(match[side]["model"], match[side]["width"], study) for side in SIDES]
    entries = [sae_entry(study["models"][model], width) for model, width in owners]
    bare = [(match[side]["layer"], split_width(width)[0]) for side, (_, width) in zip(SIDES, owners, strict=True)]
    trained = any("train" in study["saes"][entry] for entry in entries)
    return bare[0] == bare[1] and entries[0] == entries[1] and (owners[0] == owners[1] or not trained)


def check_match(key: str, match: dict, study: dict) -> None:
    """Are both sides SAEs of the grid?

    Raises:
        TesseraError: names the side, and what there is.
    """
    for side in SIDES:
        cell = match[side]
        for data in [*match["texts"], *match["data"]]:
            media.check_learns(f"{key}.{'texts' if data in match['texts'] else 'data'}", cell["model"], data, study)
        passes = study["models"][cell["model"]]["passes"]
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
            f"config key {key}: both SAEs are trained from the same start (one seed, the same texts), "
            f"which alone makes their latents alike; give the entry of saes of one of them another seed"
        )


def _start(cell: dict, study: dict) -> tuple | None:
    """What decides where the training of an SAE starts; None for one that is not trained here."""
    model, width = sae_owner(cell["model"], cell["width"], study)
    recipe = study["saes"][sae_entry(study["models"][model], width)].get("train")
    return recipe and (recipe.get("seed", study["seed"]), recipe["texts"], recipe["tokens"])
