"""An SAE on a model's device: which of its latents fire in a state, and what they write there."""

from pathlib import Path

import numpy as np
import torch

from tessera.base.errors import TesseraError
from tessera.models.text import TextModel
from tessera.saes.decoders import load_decoder
from tessera.saes.encoders import Scratch, load_encoder


class Latents:
    """What the latents of an SAE add to the state that it reads at `place` (layer, hook)."""

    def __init__(self, model: TextModel, encoder: Path, decoder: Path, place: tuple[int, str]):
        """The SAE whose files `prepare` wrote.

        Raises:
            TesseraError: it reads another hook, or it is not known what one of its latents adds.
        """
        written = load_decoder(decoder, model.device)
        if written.about["why_not"] is not None:
            raise TesseraError(f"{decoder}: {written.about['why_not']}; to take latents out, choose another SAE")
        if written.about["hook"] != place[1]:
            raise TesseraError(f"{decoder}: the SAE reads {written.about['hook']}, a pass changes {place[1]}")
        # The product in the model's own precision, as in an extraction: the same latents fire.
        matmul = torch.bfloat16 if model.module.dtype == torch.bfloat16 else torch.float32
        self.encoder = load_encoder(encoder, Scratch(model.device, matmul))
        self.place, self.W_WD = place, written.W_WD

    @property
    def width(self) -> int:
        return self.encoder.width

    def added(self, state_ND: torch.Tensor, chosen_W: np.ndarray) -> torch.Tensor:
        """What the chosen latents add to N states [N, d], zeros where none of them fires."""
        found = self.encoder.encode(state_ND)
        chosen = chosen_W[found.latents]
        token = np.repeat(np.arange(len(state_ND)), found.counts_N)[chosen]
        latents, values, starts_N = (
            torch.from_numpy(part).to(state_ND.device)
            for part in (
                found.latents[chosen].astype(np.int64),
                found.values[chosen],
                np.searchsorted(token, np.arange(len(state_ND))),
            )
        )
        added_ND = torch.nn.functional.embedding_bag(
            latents, self.W_WD, starts_N, mode="sum", per_sample_weights=values
        )
        return self.encoder.output_scale(state_ND) * added_ND

    def short_of(self, state_ND: torch.Tensor, latent_N: np.ndarray, value_N: np.ndarray) -> torch.Tensor:
        """What is to be added to N states [N, d] for one latent of each to be at its value there, as it writes."""
        found, act_N = self.encoder.encode(state_ND), np.zeros(len(state_ND), dtype=np.float32)
        token = np.repeat(np.arange(len(state_ND)), found.counts_N)
        here = found.latents == latent_N[token]
        act_N[token[here]] = found.values[here]
        lacking_N, latent_N = (torch.from_numpy(part).to(state_ND.device) for part in (value_N - act_N, latent_N))
        return self.encoder.output_scale(state_ND) * lacking_N[:, None] * self.W_WD[latent_N]
