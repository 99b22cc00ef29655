"""Prepared decoders: what each latent writes."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tessera.saes.encoders import read_about, read_tensors


@dataclass
class Decoder:
    """W_WD [W, d]: what one unit of each latent adds to the reconstruction, float32; None of an SAE without one.

    `about`: hook, architecture, normalize_activations, neuronpedia (the SAE's name there, or None) and why_not (why its
    latents can neither be taken out nor read as directions, or None), in_stream (are they directions of the residual
    stream, which later layers carry on?).
    """

    W_WD: torch.Tensor | None
    about: dict


def load_decoder(path: Path, device: torch.device) -> Decoder:
    """The decoder that `prepare` wrote to `path`."""
    tensors = read_tensors(path)
    return Decoder(tensors["W_dec"].to(device) if tensors else None, read_about(path))
