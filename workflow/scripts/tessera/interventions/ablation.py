"""What is taken out of the state at a hook in a forward pass: latents of the SAE that reads it, or directions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tessera.activations.massive import is_massive
from tessera.base.errors import TesseraError
from tessera.models.forward import Change
from tessera.models.text import TextModel
from tessera.saes.decoders import load_decoder
from tessera.saes.encoders import Scratch, load_encoder


@dataclass(frozen=True)
class Ablation:
    """What is taken out: `latents` (`of`: numbers), `all` latents, `directions` (`of`: rows [n, d]) or `nothing`."""

    kind: str
    of: np.ndarray | None = None


class Latents:
    """An SAE on the model's device, and what its latents add to the state that it reads at `place` (layer, hook)."""

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

    def change(self, ablation: Ablation, pool_massive: bool) -> Change:
        """The change of a pass that takes `ablation` out of the tokens that are pooled.

        Raises:
            TesseraError: the SAE has no such latent, or directions are of another size or not independent.
        """
        return Change(*self.place, Removal(self, ablation, pool_massive))


class Removal:
    """The state [B, T, d] without what an ablation takes out of the pooled tokens: content, and not massive.

    `pooled_BT`: these tokens in the batch changed last.
    """

    def __init__(self, latents: Latents, ablation: Ablation, pool_massive: bool):
        self.kind, self.latents, self.pool_massive = ablation.kind, latents, pool_massive
        d, width = latents.encoder.d_in, latents.encoder.width
        match ablation.kind:
            case "latents":
                if not np.isin(ablation.of, np.arange(width)).all():
                    raise TesseraError(f"latent {np.max(ablation.of)} is to be taken out of an SAE of {width} latents")
                self.chosen_W = np.isin(np.arange(width), ablation.of)
            case "all":
                self.chosen_W = np.ones(width, dtype=bool)
            case "directions":
                shape, rank = ablation.of.shape, np.linalg.matrix_rank(ablation.of)
                if shape[1] != d or rank < shape[0]:
                    raise TesseraError(f"{shape[0]} directions {shape} of rank {rank} are to be taken out of {d}")
                basis_DN = np.linalg.qr(ablation.of.astype(np.float64).T)[0]
                self.basis_ND = torch.from_numpy(basis_DN.T.astype(np.float32)).to(latents.W_WD.device)
            case "nothing":
                pass
            case _:
                raise ValueError(ablation.kind)
        self.pooled_BT: np.ndarray | None = None

    def __call__(self, state_BTD: torch.Tensor, content_BT: np.ndarray) -> torch.Tensor:
        self.pooled_BT = self._pooled(state_BTD, content_BT)
        if self.kind == "nothing" or not self.pooled_BT.any():
            return state_BTD
        pooled_BT = torch.from_numpy(self.pooled_BT).to(state_BTD.device)
        without_BTD = state_BTD.clone()
        without_BTD[pooled_BT] -= self._part(state_BTD[pooled_BT].float()).to(state_BTD.dtype)
        return without_BTD

    def _pooled(self, state_BTD: torch.Tensor, content_BT: np.ndarray) -> np.ndarray:
        if self.pool_massive or not content_BT.any():
            return content_BT
        counts_B, pooled_BT = content_BT.sum(axis=1), content_BT.copy()
        state_ND = state_BTD[torch.from_numpy(content_BT).to(state_BTD.device)]
        norm_N = torch.linalg.vector_norm(state_ND.float(), dim=1)
        pooled_BT[content_BT] = ~is_massive(norm_N, counts_B[counts_B > 0]).cpu().numpy()
        return pooled_BT

    def _part(self, state_ND: torch.Tensor) -> torch.Tensor:
        if state_ND.shape[1] != self.latents.encoder.d_in:
            layer, hook = self.latents.place
            raise TesseraError(
                f"the SAE of layer {layer} reads {self.latents.encoder.d_in} dimensions, the model has "
                f"{state_ND.shape[1]} there ({hook})"
            )
        if self.kind == "directions":
            return (state_ND @ self.basis_ND.T) @ self.basis_ND
        return self.latents.added(state_ND, self.chosen_W)
