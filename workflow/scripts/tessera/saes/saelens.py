"""What only SAELens can do: fetch a published SAE, whose format it knows, and encode with a rare architecture.

One of the two modules that import sae_lens (4-6 s, 490 MiB); see also training.py.
"""

from pathlib import Path

import torch
from sae_lens import SAE

from tessera.base.errors import TesseraError


def fetch(release: str, sae_id: str, folder: Path) -> None:
    """Save the SAE `sae_id` of `release` to `folder`; norm factors that a release declares are folded in.

    Raises:
        TesseraError: it can be had neither from the hub nor from its cache.
    """
    try:
        SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32").save_model(folder)
    except Exception as error:  # every release has a loader of its own, and each fails in its own way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TesseraError(f"SAE {sae_id!r} of release {release!r} cannot be loaded: {reason}") from error


def same_model(name: str, other: str) -> bool:
    """Are these two names of one model, by TransformerLens' list of them (gpt2-small is openai-community/gpt2)?"""
    from transformer_lens.loading_from_pretrained import get_official_model_name

    def official(model: str) -> str:
        try:
            return get_official_model_name(model).rsplit("/", 1)[-1].lower()
        except ValueError:
            return model.rsplit("/", 1)[-1].lower()

    return official(name) == official(other)


def revive(config: dict, tensors: dict[str, torch.Tensor]) -> SAE:
    """The SAE of a `cfg.json` and the tensors saved beside it, float32, on the CPU."""
    config = config | {"device": "cpu", "dtype": "float32"}

    def given(_path, _device, cfg_overrides=None):
        return config | (cfg_overrides or {}), {name: tensor.float() for name, tensor in tensors.items()}

    return SAE.load_from_disk("", converter=given)
