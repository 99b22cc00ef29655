"""Which SAE a width of a model has, where models share SAEs."""

from tessera.base.errors import TesseraError
from tessera.study.grid import split_width


def sae_entry(model: dict, width: str) -> str:
    """Name of the entry of saes that a width of a model comes from."""
    return split_width(width)[1] or model["saes"]


def sae_owner(model: str, width: str, study: dict) -> tuple[str, str]:
    """Model and width whose SAE a width of a model has: its own, or what an entry of saes with `of` borrows."""
    entry = study["saes"][sae_entry(study["models"][model], width)]
    return (entry["of"], split_width(width)[0]) if "of" in entry else (model, width)


def check_borrowed(key: str, name: str, layer: str, width: str, study: dict) -> None:
    """Is there an SAE of this layer and width that is the other model's own, and read at the same place?

    Raises:
        TesseraError: says what is missing.
    """
    owner, bare = sae_owner(name, width, study)
    borrowed = sae_entry(study["models"][name], width)
    entry, other = f"saes.{borrowed}.of", study["models"][owner]
    if "trained_on" in study["saes"][borrowed]:
        raise TesseraError(f"config key saes.{borrowed}.trained_on: that is said where the SAEs of {owner} come from")
    if not any(bare in one_pass.get(layer, []) for one_pass in other["passes"]):
        raise TesseraError(f"config key {key}: {owner}, whose SAE this is, has no width {bare} at layer {layer}")
    if "of" in study["saes"].get(other.get("saes"), {}):
        raise TesseraError(
            f"config key {entry}: the SAEs of {owner} are borrowed themselves; name the model they are of"
        )
    if study["models"][name].get("hook") != other.get("hook"):
        raise TesseraError(f"config key models.{name}.hook: not that of {owner}, whose SAE it uses at layer {layer}")
