"""What may be done to the state at a hook: each kind of intervention says what it adds to the states of some tokens."""

from abc import ABC, abstractmethod

import numpy as np
import torch

from tessera.base.errors import TesseraError
from tessera.interventions.latents import Latents


class Intervention(ABC):
    """One interface for all: what is added to N states. d: their size; None, of one that fits any."""

    d: int | None = None

    @abstractmethod
    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        """What to add to N float32 states [N, d], which stand in these rows of a batch."""


class Nothing(Intervention):
    """The identity, bit for bit."""

    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(state_ND)


class Without(Intervention):
    """Latents taken out of the state, the SAE's error left in it: some, or (None) all that fire."""

    def __init__(self, latents: Latents, chosen: np.ndarray | None = None):
        self.latents, self.d = latents, latents.encoder.d_in
        every = np.arange(latents.width)
        if chosen is not None and not np.isin(chosen, every).all():
            raise TesseraError(f"latent {np.max(chosen)} is to be taken out of an SAE of {latents.width} latents")
        self.chosen_W = np.ones(latents.width, dtype=bool) if chosen is None else np.isin(every, chosen)

    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        return -self.latents.added(state_ND, self.chosen_W)


class Clamped(Intervention):
    """A latent held at a value, wherever it fires or not: one for each row [B] of a batch, or one [1] for all.

    A row whose value is nan is left as it is.
    """

    def __init__(self, latents: Latents, latent_B: np.ndarray, value_B: np.ndarray):
        self.latents, self.d = latents, latents.encoder.d_in
        self.latent_B, self.value_B = latent_B, value_B.astype(np.float32)
        if not ((latent_B >= 0) & (latent_B < latents.width)).all():
            raise TesseraError(f"latent {latent_B.max()} is to be clamped in an SAE of {latents.width} latents")

    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        row_N = row_N.cpu().numpy() if len(self.latent_B) > 1 else np.zeros(len(row_N), dtype=np.int64)
        value_N = self.value_B[row_N]
        return self.latents.short_of(state_ND, self.latent_B[row_N], value_N).nan_to_num(0.0)


class Projected(Intervention):
    """A subspace projected out: x − left (right (x − centre)). Oblique, where left and right differ (LEACE)."""

    def __init__(self, left_DN: np.ndarray, right_ND: np.ndarray, centre_D: np.ndarray, device: torch.device):
        parts = (left_DN, right_ND, centre_D)
        self.left_DN, self.right_ND, self.centre_D = (torch.from_numpy(part).float().to(device) for part in parts)
        self.d = len(left_DN)

    @classmethod
    def out_of(cls, directions_ND: np.ndarray, d: int, device: torch.device) -> "Projected":
        """All that lies in the span of some directions, N × d.

        Raises:
            TesseraError: they are of another size, or not independent.
        """
        shape, rank = directions_ND.shape, np.linalg.matrix_rank(directions_ND)
        if shape[1] != d or rank < shape[0]:
            raise TesseraError(f"{shape[0]} directions {shape} of rank {rank} are to be taken out of {d}")
        basis_DN = np.linalg.qr(directions_ND.astype(np.float64).T)[0]
        return cls(basis_DN, basis_DN.T, np.zeros(d), device)

    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        return -((state_ND - self.centre_D) @ self.right_ND.T) @ self.left_DN.T


class Added(Intervention):
    """A vector added: one for each row [B, d] of a batch, or one [1, d] for all."""

    def __init__(self, vector_BD: torch.Tensor):
        self.vector_BD, self.d = vector_BD, vector_BD.shape[1]

    def added(self, state_ND: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
        return self.vector_BD if len(self.vector_BD) == 1 else self.vector_BD[row_N]
