"""The content tokens of a batch at one layer: their states, and which of them are pooled."""

from dataclasses import dataclass

import numpy as np
import torch

from tessera.activations.massive import is_massive
from tessera.activations.shards import check_finite
from tessera.models.forward import Batch


@dataclass
class Content:
    """The N content tokens of a batch, text by text, on the device.

    state_ND: float32. norm_N: Euclidean. massive_N, pooled_N: which are massive, which pooled. pooled_BT: the same
    among the batch's tokens.
    """

    state_ND: torch.Tensor
    norm_N: torch.Tensor
    massive_N: torch.Tensor
    pooled_N: torch.Tensor
    pooled_BT: np.ndarray


def content_of(batch: Batch, layer: int, examples_B: np.ndarray, pool_massive: bool = False) -> Content:
    """The content tokens of a batch at a layer; pooled are those that are not massive, or all of them.

    Args:
        examples_B: the numbers of its examples, for messages.

    Raises:
        TesseraError: a state is not finite.
    """
    state_BTD = batch.states[layer]
    state_ND = state_BTD[torch.from_numpy(batch.content_BT).to(state_BTD.device)].float()
    check_finite(state_ND, batch.content_BT, examples_B, layer)
    norm_N = torch.linalg.vector_norm(state_ND, dim=1)
    massive_N = is_massive(norm_N, batch.content_BT.sum(axis=1))
    pooled_N = torch.ones_like(massive_N) if pool_massive else ~massive_N
    pooled_BT = batch.content_BT.copy()
    pooled_BT[batch.content_BT] = pooled_N.cpu().numpy()
    return Content(state_ND, norm_N, massive_N, pooled_N, pooled_BT)
