"""An intervention in a forward pass: on which tokens it acts, and how its part comes into the state."""

import numpy as np
import torch

from tessera.activations.massive import is_massive
from tessera.base.errors import TesseraError
from tessera.interventions.kinds import Intervention
from tessera.models.forward import ALL, CONTENT, Change


class Acting:
    """The state [B, T, d] with what an intervention adds to the chosen tokens, or (`where` is all) to every token.

    Of chosen tokens massive ones are left alone, unless `pool_massive`. A token to which nothing is added keeps every
    bit. `pooled_BT`: the chosen tokens in the batch changed last, and not massive.
    """

    def __init__(self, intervention: Intervention, pool_massive: bool, where: str = CONTENT):
        self.intervention, self.pool_massive, self.where = intervention, pool_massive, where
        self.pooled_BT: np.ndarray | None = None

    def __call__(self, state_BTD: torch.Tensor, chosen_BT: np.ndarray) -> torch.Tensor:
        self.pooled_BT = chosen_BT if self.pool_massive else not_massive(state_BTD, chosen_BT)
        acted_BT = np.ones_like(chosen_BT) if self.where == ALL else self.pooled_BT
        if not acted_BT.any():
            return state_BTD
        if self.intervention.d not in (None, state_BTD.shape[2]):
            raise TesseraError(
                f"an intervention in {self.intervention.d} dimensions, and the model has {state_BTD.shape[2]} there"
            )
        acted_BT = torch.from_numpy(acted_BT).to(state_BTD.device)
        row_N = acted_BT.nonzero()[:, 0]
        state_ND = state_BTD[acted_BT]
        added_ND = self.intervention.added(state_ND.float(), row_N).to(state_ND.dtype)
        changed_BTD = state_BTD.clone()
        changed_BTD[acted_BT] = torch.where(added_ND == 0, state_ND, state_ND + added_ND)  # −0 + 0 is 0
        return changed_BTD


def acting(place: tuple[int, str], intervention: Intervention, *, pool_massive: bool, where: str = CONTENT) -> Change:
    """The change of a pass that acts at `place` (layer, hook)."""
    return Change(*place, Acting(intervention, pool_massive, where))


def not_massive(state_BTD: torch.Tensor, chosen_BT: np.ndarray) -> np.ndarray:
    """Which of the chosen tokens are not massive."""
    if not chosen_BT.any():
        return chosen_BT
    counts_B, kept_BT = chosen_BT.sum(axis=1), chosen_BT.copy()
    state_ND = state_BTD[torch.from_numpy(chosen_BT).to(state_BTD.device)]
    norm_N = torch.linalg.vector_norm(state_ND.float(), dim=1)
    kept_BT[chosen_BT] = ~is_massive(norm_N, counts_B[counts_B > 0]).cpu().numpy()
    return kept_BT
