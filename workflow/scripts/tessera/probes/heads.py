"""The attention probe's objective and its optimum, in torch: imported by jobs that fit one, and by no other.

Texts are worked through in blocks of like lengths, so that hardly any padding is multiplied. Double precision, which
on a CPU costs little more here, as memory, not arithmetic, sets the pace.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from tessera.features.spaces import TokenStates
from tessera.probes.fitted import Probe, softmax

BLOCK = {"cpu": 1024, "cuda": 65536}  # tokens that are in double precision at once; one text may have more
LIKE = 1.25  # how many times as long as the shortest text of a block its longest may be,
LONGER = 4  # or how many tokens longer
STARTS = 3
TOLERANCE = 1e-4  # of the largest entry of the gradient; ten times less costs twice the time and no score moved
ITERATIONS = 1000
HISTORY = 20  # changes that L-BFGS remembers: a fifth fewer iterations than with 10


@dataclass(kw_only=True)
class AttentionProbe(Probe):
    """A fitted attention probe, for tokens in the space that it was fitted in.

    weights: query [H, D], slope [H] where heads go by position, value [H, D, C] and intercept [C], one after the other
    (C = 1 for two classes).
    """

    weights: np.ndarray = field(repr=False)
    device: str = "cpu"

    def probabilities(self, features_EK: TokenStates) -> np.ndarray:
        return softmax(decisions(features_EK, self.weights, len(self.classes), self.device))


def path(
    tokens: TokenStates, label_E: np.ndarray, names: list[str], penalties: list[float], seed: int, device: str
) -> Iterator[AttentionProbe]:
    """The probe at each penalty (C, ascending).

    Each is sought from the optimum at the penalty before, as it is and with draws added, `STARTS` in all (at the first
    from draws alone); of what is found the one of the lowest objective is kept.
    """
    objective = Objective(tokens, label_E, len(names), device)
    rng, optimum = np.random.default_rng(seed), None
    for C in penalties:
        draws = [objective.draw(rng) for _ in range(STARTS)]
        starts = draws if optimum is None else [optimum, *(optimum + draw for draw in draws[1:])]
        best = min((_minimum(objective, start, C) for start in starts), key=lambda found: found.fun)
        optimum = best.x
        yield AttentionProbe(classes=names, C=C, converged=best.success, weights=best.x, device=device)


@threadpool_limits.wrap(limits=1)  # as all fits: a job has one core
def _minimum(objective: "Objective", start: np.ndarray, C: float):
    options = {"maxcor": HISTORY, "maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "gtol": TOLERANCE, "ftol": 0}
    return minimize(objective, start, (C,), method="L-BFGS-B", jac=True, options=options)


@threadpool_limits.wrap(limits=1)
def decisions(tokens: TokenStates, weights: np.ndarray, classes: int, device: str = "cpu") -> np.ndarray:
    """[E, C], or [E, 1] for two classes."""
    reading = Reading(tokens, classes, device)
    decision_EC = np.empty((len(tokens), reading.outputs))
    with torch.inference_mode():
        parts = reading.parts(torch.from_numpy(weights).to(device))
        for block in reading.blocks:
            decision_EC[block.examples_B] = reading.decisions(block, parts).cpu().numpy()
    return decision_EC


@dataclass
class Block:
    """Texts of like lengths, padded to the longest: examples_B, and where their tokens stand among all.

    beyond_BT: what is padding. position_BT: of the tokens in their texts, in the space of the features.
    """

    examples_B: np.ndarray
    token_BT: torch.Tensor
    beyond_BT: torch.Tensor
    position_BT: torch.Tensor


def blocks(tokens: TokenStates, most: int, device: str) -> list[Block]:
    """All texts, in blocks of `most` tokens or one text."""
    count_E, order_E, found, start = tokens.count_E, np.argsort(tokens.count_E, kind="stable"), [], 0
    ascending_E = count_E[order_E]
    while start < len(order_E):
        shortest = ascending_E[start]
        like = np.searchsorted(ascending_E, max(int(LIKE * shortest), shortest + LONGER), side="right")
        fits = np.arange(1, like - start + 1) * ascending_E[start:like] <= most
        examples_B = order_E[start : start + max(1, int(fits.sum()))]
        place_T = np.arange(count_E[examples_B[-1]])
        beyond_BT = place_T >= count_E[examples_B, None]
        token_BT = tokens.first_E[examples_B, None] + np.where(beyond_BT, 0, place_T)
        position_BT = (tokens.position_N[token_BT] - tokens.space.mean_position) / tokens.space.scale_position
        found.append(
            Block(examples_B, *(torch.from_numpy(part).to(device) for part in (token_BT, beyond_BT, position_BT)))
        )
        start += len(examples_B)
    return found


class Reading:
    """What heads read of texts, and what they decide."""

    def __init__(self, tokens: TokenStates, classes: int, device: str):
        self.space, self.outputs = tokens.space, 1 if classes == 2 else classes
        self.blocks = blocks(tokens, BLOCK[device], device)
        self.state_ND = torch.from_numpy(tokens.state_ND).to(device)
        self.mean_D, self.scale_D = (
            torch.from_numpy(part).to(device) for part in (self.space.mean_D, self.space.scale_D)
        )
        heads, d = self.space.number, tokens.state_ND.shape[1]
        self.sizes = [heads * d, heads * self.space.by_position, heads * d * self.outputs, self.outputs]

    def parts(self, weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """query_HD, slope_H (empty without positions), value_KC (K = H · D) and intercept_C of all weights."""
        query, slope, value, intercept = weights.split(self.sizes)
        return query.view(self.space.number, -1), slope, value.view(-1, self.outputs), intercept

    def decisions(self, block: Block, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """[B, C]

        The space is linear, so what is standardised is not the tokens but queries and what heads read; the mean turns
        all logits of a text alike, and no attention.
        """
        query_HD, slope_H, value_KC, intercept_C = parts
        state_BTD = self.state_ND[block.token_BT].double()
        logit_BTH = state_BTD @ (query_HD / self.scale_D).T
        if self.space.by_position:
            logit_BTH = logit_BTH + block.position_BT[:, :, None] * slope_H
        attention_BTH = logit_BTH.masked_fill(block.beyond_BT[:, :, None], -torch.inf).softmax(1)
        read_BHD = (attention_BTH.transpose(1, 2) @ state_BTD - self.mean_D) / self.scale_D
        return read_BHD.flatten(1) @ value_KC + intercept_C


class Objective(Reading):
    """Mean log loss, classes weighing alike, + `|query, slope, value|² / (2 C E)`; intercepts are free."""

    def __init__(self, tokens: TokenStates, label_E: np.ndarray, classes: int, device: str):
        super().__init__(tokens, classes, device)
        self.label_E = torch.from_numpy(label_E).to(device)
        share_C = 1 / (classes * np.bincount(label_E, minlength=classes))
        self.share_E = torch.from_numpy(share_C[label_E]).to(device)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Weights of which each query turns tokens into logits of unit variance, and each value into such decisions."""
        free = sum(self.sizes) - self.outputs
        return np.append(rng.normal(scale=self.state_ND.shape[1] ** -0.5, size=free), np.zeros(self.outputs))

    def __call__(self, weights: np.ndarray, C: float) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        variables = torch.from_numpy(weights).to(self.mean_D.device).requires_grad_()
        penalised = variables[: -self.outputs]
        value = penalised.square().sum() / (2 * C * len(self.label_E))
        value.backward()
        total = value.detach()
        for block in self.blocks:
            decision_BC = self.decisions(block, self.parts(variables))
            if self.outputs == 1:
                decision_BC = torch.nn.functional.pad(decision_BC, (1, 0))  # the first of two classes has 0
            loss_B = torch.nn.functional.cross_entropy(decision_BC, self.label_E[block.examples_B], reduction="none")
            value = loss_B @ self.share_E[block.examples_B]
            value.backward()
            total = total + value.detach()
        return float(total), variables.grad.cpu().numpy()
