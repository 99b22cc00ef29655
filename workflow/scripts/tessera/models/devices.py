"""Where a model runs, and in which precision."""

import torch

from tessera.base.errors import TesseraError


def pick_device(name: str, device: str) -> str:
    """`cpu` or `cuda`, for the device that the config of the model `name` asks for.

    Raises:
        TesseraError: cuda is asked for, and there is no GPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TesseraError(f"config key models.{name}.device: cuda, but torch sees no GPU here; allowed: auto, cpu")
    return device


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """The precision that the config asks for; auto is bfloat16 on a GPU, float32 on a CPU."""
    if dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return getattr(torch, dtype)
