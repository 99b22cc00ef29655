"""The parts of any transformers model: config, tokenizer or processor, module, and the list of its blocks."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from tessera.base.digests import sha256
from tessera.base.errors import TesseraError
from tessera.base.files import resolve
from tessera.study.architecture import count_layers


def load_parts(
    name: str, spec: dict, source: dict, reader: Callable, *, seed: int, kind=AutoModel
) -> tuple[PretrainedConfig, object, PreTrainedModel, str | Path]:
    """Config, tokenizer or processor (of the Auto class that `reader` gives for the config), frozen module and place.

    Errors as of `load_model`.
    """
    place, options = _place(name, source)
    device = pick_device(name, spec["device"])
    dtype = _dtype(spec["dtype"], device)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        reads = reader(config).from_pretrained(place, **options)
        if "control_of" not in spec:
            options |= {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
            module, loaded = kind.from_pretrained(place, **options)
            missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
        else:
            torch.manual_seed(seed)
            module, missing = kind.from_config(config, dtype=dtype), []
    except Exception as error:  # each architecture fails in its own way
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TesseraError(f"config key models.{name}: {str(place)!r} cannot be loaded: {reason}") from error
    if missing:
        raise TesseraError(
            f"config key models.{name}: the weights in {str(place)!r} lack {len(missing)} tensors, such as {missing[0]}"
        )
    return config, reads, module.to(device).eval().requires_grad_(False), place


def _place(name: str, source: dict) -> tuple[str | Path, dict]:
    if "hub" in source:
        return source["hub"], {"revision": source.get("revision"), "trust_remote_code": False}
    folder = resolve(source["path"])
    if "sha256" in source:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise TesseraError(f"config key models.{name}.sha256: there is no file {str(weights)!r}")
        found = sha256(weights)
        if found != source["sha256"]:
            raise TesseraError(f"config key models.{name}.sha256: model.safetensors in {str(folder)!r} has {found}")
    return folder, {"local_files_only": True, "trust_remote_code": False}


def pick_device(name: str, device: str) -> str:
    """`cpu` or `cuda`, for the device that the model's config asks for."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TesseraError(f"config key models.{name}.device: cuda, but torch sees no GPU here; allowed: auto, cpu")
    return device


def _dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return getattr(torch, dtype)


def find_blocks(module: torch.nn.Module, config: PretrainedConfig) -> torch.nn.ModuleList:
    """The one module list that has as many members as the model has layers.

    Raises:
        TesseraError: there is none, or there are several (an encoder-decoder model).
    """
    if config.is_encoder_decoder:
        raise TesseraError(f"{type(module).__name__} has an encoder and a decoder; supported are models with one stack")
    layers = count_layers(config.to_dict())
    found = {
        path: child
        for path, child in module.named_modules()
        if isinstance(child, torch.nn.ModuleList) and len(child) == layers
    }
    if len(found) != 1:
        raise TesseraError(
            f"{type(module).__name__}: found {len(found)} lists of {layers} blocks ({', '.join(found) or 'none'}); "
            f"supported are models with one stack"
        )
    return next(iter(found.values()))
