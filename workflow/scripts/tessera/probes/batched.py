"""L2 logistic regressions, many at once, by L-BFGS in torch: all penalties of several folds are one batch.

The objective is that of scikit-learn's `LogisticRegression(C=C, class_weight="balanced")`, whose lbfgs solver minimises
the weighted mean of the examples' log loss plus `|weights|² / (2 C E)`, intercepts free, softmax over all classes (over
one row of weights for two). It has one optimum, so any solver finds the same probe; this one goes nearer to it
(`TOLERANCE`) than the CPU's does.

A GPU must be able to multiply a sparse CSR matrix, or a dense one, by a dense one in double precision, and to factorise
by Cholesky. Tested on CPUs alone. The bits may differ from run to run there: cuSPARSE promises no more.

Shapes: F folds, G penalties; for two classes there is one row of weights (C = 1). Tensors of several folds are padded
with zeros to the largest.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from tessera.features.spaces import Features

# Of the largest entry of the gradient, as scikit-learn's `tol`. At its 1e-6 a coefficient at C = 100 is up to 1e-2 of
# the decisions' spread from the optimum (real cells of 200 texts), here up to 3e-4, for half as many iterations more.
TOLERANCE = 1e-8
ITERATIONS = 5000
HISTORY = 10  # changes of weights and gradient that L-BFGS remembers, as scipy's
STEEP, SHORT, AIM = 1e-4, 0.9, 0.1  # shares of the slope at the start of a line: see `_step`
SEARCH = 60  # slopes looked at along a line; one is the rule
STRIP = 256  # examples whose products with all are made at once
RIDGE = 10 * torch.finfo(torch.float64).eps  # of the sum of all squares: beyond what rounding makes of equal texts

DOUBLE = 8  # bytes
OF_WEIGHTS, OF_DECISIONS = 2 * HISTORY + 20, 20  # tensors of their shapes that are held at once, measured on a CPU


@dataclass(frozen=True)
class Size:
    """Of a fit: entries of its features, examples, columns, rows of weights of a penalty; are the features sparse?"""

    entries: int
    examples: int
    columns: int
    rows: int
    sparse: bool

    @classmethod
    def of(cls, features_EK: Features, classes: int) -> "Size":
        sparse = sp.issparse(features_EK)
        entries = features_EK.nnz if sparse else features_EK.size
        return cls(entries, *features_EK.shape, rows=1 if classes == 2 else classes, sparse=sparse)

    def bytes(self, penalties: int) -> int:
        """What the fit takes of a device's memory."""
        features = self.entries * (2 * (DOUBLE + 4) if self.sparse else 2 * DOUBLE)  # sparse ones are there twice
        return features + min(self._of_columns(penalties), self._of_span(penalties))

    def in_span(self, penalties: int) -> bool:
        """Does it take less memory, and so less time, in the span of its examples?"""
        return self._of_span(penalties) < self._of_columns(penalties)

    def _of_columns(self, penalties: int) -> int:
        return DOUBLE * penalties * self.rows * (OF_WEIGHTS * self.columns + OF_DECISIONS * self.examples)

    def _of_span(self, penalties: int) -> int:
        found = DOUBLE * penalties * self.rows * (OF_WEIGHTS + OF_DECISIONS) * self.examples
        return found + DOUBLE * (3 * self.examples**2 + max(2 * STRIP, 4 * self.rows) * (self.columns + self.examples))


@torch.inference_mode()
def solve(
    features_FEK: list[Features], label_FE: list[np.ndarray], classes: int, penalties: list[float], device: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The logistic regression of each fold at each penalty.

    Args:
        features_FEK: per fold, examples × columns, all CSR or all dense; folds may differ in both.
        label_FE: per fold, class numbers below `classes`; each class is in each fold.
        penalties: values of C, for all folds.
        device: of torch.

    Yields:
        As soon as all folds have converged at a penalty: its number; weights [F, C, K + 1] of the columns of the widest
        fold and, last, the intercepts; whether each fold did converge, or iterations ran out [F].
    """
    matrices = (_Sparse if sp.issparse(features_FEK[0]) else _Dense)(features_FEK, device)
    if Size.of(features_FEK[0], classes).in_span(len(penalties)):
        matrices = _InSpan(matrices)
    for penalty, found_FKC, converged_F in _descend(_Objective(matrices, label_FE, classes, penalties)):
        weights_FKC = torch.cat([matrices.weights(found_FKC[:, :-1]), found_FKC[:, -1:]], 1)
        yield penalty, weights_FKC.transpose(1, 2).cpu().numpy(), converged_F.cpu().numpy()


class _Dense:
    """The features of all folds [F, E, K]."""

    def __init__(self, features_FEK: list[np.ndarray], device: str):
        rows, columns = (max(part.shape[axis] for part in features_FEK) for axis in (0, 1))
        padded_FEK = np.zeros((len(features_FEK), rows, columns), dtype=features_FEK[0].dtype)
        for fold, part in enumerate(features_FEK):
            padded_FEK[fold, : part.shape[0], : part.shape[1]] = part
        self._hold(torch.from_numpy(padded_FEK).to(device).double())

    def _hold(self, matrix_FEK: torch.Tensor) -> None:
        self.matrix, self.device = matrix_FEK, matrix_FEK.device
        self.folds, self.rows, self.columns = matrix_FEK.shape

    def times(self, right_FKGC: torch.Tensor) -> torch.Tensor:
        """[F, E, G, C]: one product for all penalties and classes."""
        return (self.matrix @ right_FKGC.flatten(2)).unflatten(2, right_FKGC.shape[2:])

    def transposed_times(self, right_FEGC: torch.Tensor) -> torch.Tensor:
        """[F, K, G, C]"""
        return (self.matrix.mT @ right_FEGC.flatten(2)).unflatten(2, right_FEGC.shape[2:])

    def weights(self, found_FKC: torch.Tensor) -> torch.Tensor:
        """Of the columns of the features."""
        return found_FKC


class _Sparse:
    """The same of sparse features: a CSR matrix with the folds on its diagonal, and its transpose, in CSR as well."""

    def __init__(self, features_FEK: list[sp.csr_array], device: str):
        self.folds, self.device = len(features_FEK), torch.device(device)
        self.rows, self.columns = (max(part.shape[axis] for part in features_FEK) for axis in (0, 1))
        whole = sp.vstack([self._in_its_block(part, fold) for fold, part in enumerate(features_FEK)], format="csr")
        self.matrix, self.transposed = (_to_torch(part, self.device) for part in (whole, whole.T.tocsr()))

    def _in_its_block(self, part: sp.csr_array, fold: int) -> sp.csr_array:
        """[E, F · K]: a fold with empty rows below, in its columns of the diagonal."""
        ends = np.pad(part.indptr, (0, self.rows - part.shape[0]), mode="edge")
        shape = self.rows, self.folds * self.columns
        return sp.csr_array((part.data, part.indices + fold * self.columns, ends), shape=shape)

    def times(self, right_FKGC: torch.Tensor) -> torch.Tensor:
        """[F, E, G, C]: one product for all folds, penalties and classes."""
        return (self.matrix @ right_FKGC.flatten(2).flatten(0, 1)).view(self.folds, self.rows, *right_FKGC.shape[2:])

    def transposed_times(self, right_FEGC: torch.Tensor) -> torch.Tensor:
        """[F, K, G, C]"""
        product = self.transposed @ right_FEGC.flatten(2).flatten(0, 1)
        return product.view(self.folds, self.columns, *right_FEGC.shape[2:])

    def weights(self, found_FKC: torch.Tensor) -> torch.Tensor:
        """Of the columns of the features."""
        return found_FKC


def _to_torch(matrix: sp.csr_array, device: torch.device) -> torch.Tensor:
    ends, columns, values = (torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(ends, columns, values.double(), matrix.shape, check_invariants=True)


class _InSpan(_Dense):
    """Features of more columns than examples, in an orthonormal basis of the span of the examples.

    The optimum lies in that span (its gradient is a sum of examples), and neither decisions nor the penalty depend on
    the basis: with all products of examples X Xᵀ = L Lᵀ (Cholesky), L stands for X, and weights of X are Xᵀ L⁻ᵀ times
    those of L.
    """

    def __init__(self, features: _Dense | _Sparse):
        self.features = features
        products_FEE = torch.cat([self._products(start) for start in range(0, features.rows, STRIP)], 2)
        diagonal_FE = products_FEE.diagonal(dim1=1, dim2=2)
        diagonal_FE += RIDGE * diagonal_FE.sum(1, keepdim=True)
        self._hold(torch.linalg.cholesky(products_FEE))

    def _products(self, start: int) -> torch.Tensor:
        """[F, E, N]: of all examples with N of them."""
        size = min(STRIP, self.features.rows - start)
        chosen_EN = torch.zeros(self.features.rows, size, dtype=torch.float64, device=self.features.device)
        chosen_EN[start : start + size].fill_diagonal_(1)
        chosen_FEN = chosen_EN[None, :, :, None].expand(self.features.folds, -1, -1, -1)
        return self.features.times(self.features.transposed_times(chosen_FEN))[..., 0]

    def weights(self, found_FEC: torch.Tensor) -> torch.Tensor:
        """Of the columns of the features."""
        of_examples_FEC = torch.linalg.solve_triangular(self.matrix.mT, found_FEC, upper=True)
        return self.features.transposed_times(of_examples_FEC[:, :, None])[:, :, 0]


class _Objective:
    """The mean log loss and penalty of each fold × penalty, by their derivatives: their values are never needed."""

    def __init__(self, matrices: _Dense | _Sparse, label_FE: list[np.ndarray], classes: int, penalties: list[float]):
        self.matrices = matrices
        self.shape = matrices.folds, matrices.columns + 1, len(penalties), 1 if classes == 2 else classes
        share_FE = np.zeros((matrices.folds, matrices.rows))  # of an example in the loss; classes weigh alike
        target_FEC = np.zeros((*share_FE.shape, classes))
        for fold, label_E in enumerate(label_FE):
            share_FE[fold, : len(label_E)] = 1 / (classes * np.bincount(label_E, minlength=classes))[label_E]
            target_FEC[fold, np.arange(len(label_E)), label_E] = 1
        ridge_FG = 1 / np.outer([len(label_E) for label_E in label_FE], penalties)
        parts = share_FE[:, :, None, None], target_FEC[:, :, None, -self.shape[-1] :], ridge_FG[:, None, :, None]
        self.share, self.target, self.ridge = (torch.from_numpy(part).to(matrices.device) for part in parts)

    def decisions(self, weights_FKGC: torch.Tensor) -> torch.Tensor:
        """[F, E, G, C]"""
        return self.matrices.times(weights_FKGC[:, :-1]) + weights_FKGC[:, -1:]

    def gradient(self, weights_FKGC: torch.Tensor, decision_FEGC: torch.Tensor) -> torch.Tensor:
        """[F, K + 1, G, C]"""
        residual_FEGC = self.share * (self._probability(decision_FEGC) - self.target)
        of_columns = self.matrices.transposed_times(residual_FEGC) + self.ridge * weights_FKGC[:, :-1]
        return torch.cat([of_columns, residual_FEGC.sum(1, keepdim=True)], 1)

    def along(
        self,
        weights_FKGC: torch.Tensor,
        decision_FEGC: torch.Tensor,
        direction_FKGC: torch.Tensor,
        turn_FEGC: torch.Tensor,
    ) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Slope and curvature, as a function of the step in a direction, which turns decisions by `turn_FEGC`."""
        penalty = self.ridge * _sum(weights_FKGC[:, :-1] * direction_FKGC[:, :-1])
        bend = self.ridge * _sum(direction_FKGC[:, :-1] ** 2)

        def derivatives(step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            probability_FEGC = self._probability(decision_FEGC + step * turn_FEGC)
            slope = _sum(self.share * (probability_FEGC - self.target) * turn_FEGC)
            mean, square = ((probability_FEGC * turn_FEGC**n).sum(-1, keepdim=True) for n in (1, 2))
            return slope + penalty + step * bend, _sum(self.share * (square - mean**2)) + bend

        return derivatives

    def keep(self, kept_G: torch.Tensor) -> None:
        """Go on with some of the penalties."""
        self.ridge = self.ridge[:, :, kept_G]

    def _probability(self, decision_FEGC: torch.Tensor) -> torch.Tensor:
        return decision_FEGC.sigmoid() if self.shape[-1] == 1 else decision_FEGC.softmax(-1)


def _sum(values_FKGC: torch.Tensor) -> torch.Tensor:
    """[F, 1, G, 1]: a number for each fold and penalty, as everything that a step is made of."""
    return values_FKGC.sum((1, 3), keepdim=True)


def _descend(objective: _Objective) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """L-BFGS from zero; what has converged stands still, and a penalty that has in every fold leaves the batch.

    Yields:
        Number of a penalty, weights [F, K + 1, C], converged [F].
    """
    left = list(range(objective.shape[2]))
    weights = torch.zeros(objective.shape, dtype=torch.float64, device=objective.share.device)
    decision = objective.decisions(weights)
    gradient = objective.gradient(weights, decision)
    if not gradient.isfinite().all():
        raise ValueError("features that are not finite numbers")
    past: list[list[torch.Tensor]] = []  # change of weights, of gradient, their inverse product, the scale of a step
    for iteration in range(ITERATIONS + 1):
        small = gradient.abs().amax((1, 3), keepdim=True) <= TOLERANCE
        stays_G = ~small[:, 0, :, 0].all(0) & (iteration < ITERATIONS)
        if not stays_G.all():
            for place in (~stays_G).nonzero()[:, 0].tolist():
                yield left[place], weights[:, :, place], small[:, 0, place, 0]
            left = [left[place] for place in stays_G.nonzero()[:, 0].tolist()]
            if not left:
                return
            objective.keep(stays_G)
            weights, decision, gradient, small = (part[:, :, stays_G] for part in (weights, decision, gradient, small))
            for pair in past:
                pair[:] = [part[:, :, stays_G] for part in pair]
        direction = _direction(gradient, past)
        turn = objective.decisions(direction)
        step = _step(objective.along(weights, decision, direction, turn), small)
        moved = direction.mul_(step)
        weights, decision = weights + moved, decision + step * turn
        before, gradient = gradient, objective.gradient(weights, decision)
        change = gradient - before
        product, square = _sum(moved * change), _sum(change**2)
        rises = product > 0  # not where nothing moved
        past.append([moved, change, torch.where(rises, 1 / product, 0), torch.where(rises, product / square, 1)])
        del past[:-HISTORY]


def _direction(gradient: torch.Tensor, past: list[list[torch.Tensor]]) -> torch.Tensor:
    """The two-loop recursion (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4)."""
    direction, factors = -gradient, []
    for moved, change, inverse, _ in reversed(past):
        factors.append(inverse * _sum(moved * direction))
        direction.addcmul_(factors[-1], change, value=-1)
    if past:
        direction *= past[-1][-1]
    for (moved, change, inverse, _), factor in zip(past, reversed(factors), strict=True):
        direction.addcmul_(factor - inverse * _sum(change * direction), moved)
    return direction


def _step(derivatives: Callable, still: torch.Tensor) -> torch.Tensor:
    """Steps along the lines that satisfy the Wolfe conditions; 0 for what stands still.

    An objective is convex, so where its slope at a step is still below `STEEP` × that at the start, it has fallen by
    that slope × step at least (Armijo), and `SHORT` × that at the start is the condition on curvature: slopes, which
    keep their precision near the optimum, tell all. Along a line a decision is a sum of two that are known, so a slope
    costs no product with the features, and Newton's method, kept between the bounds found, is worth its while.
    """
    low, high = torch.zeros_like(still, dtype=torch.float64), torch.full_like(still, torch.inf, dtype=torch.float64)
    step = low
    start, bend = derivatives(step)
    slope, found = start, still
    for _ in range(SEARCH):
        newton = step - (slope - AIM * start) / bend
        step = torch.where(found, step, torch.where((newton > low) & (newton < high), newton, (low + high) / 2))
        slope, bend = derivatives(step)
        low, high = torch.where(slope < SHORT * start, step, low), torch.where(slope > STEEP * start, step, high)
        found = found | ((slope >= SHORT * start) & (slope <= STEEP * start))
        if found.all():
            break
    return torch.where(found, step, low)
