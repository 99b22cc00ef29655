"""L2 logistic regressions, many at once, by L-BFGS in torch: all penalties of several folds are one batch.

The objective is that of scikit-learn's `LogisticRegression(C=C, class_weight="balanced")`, whose lbfgs solver minimises
the weighted mean of the examples' log loss plus |weights|² / (2 C E), intercepts free, softmax over all classes (over
one row of weights for two). It has one optimum, so any solver finds the same probe; this one goes nearer to it
(`TOLERANCE`) than the CPU's does.

What a GPU needs to be able to do is a product of a sparse CSR matrix, or a dense one, with a dense matrix in double
precision. Tested on CPUs alone. cuSPARSE promises the same bits twice for neither product, and so nor does a GPU.

Shapes: F folds, G penalties. Tensors of folds are padded with zeros to the largest of them.
"""

import warnings

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


def solve(
    features_FEK: list[Features], label_FE: list[np.ndarray], classes: int, penalties: list[float], device: str
) -> tuple[np.ndarray, np.ndarray]:
    """The logistic regression of each fold at each penalty.

    Args:
        features_FEK: per fold, examples × columns, all CSR or all dense; folds may differ in both.
        label_FE: per fold, class numbers below `classes`; each class is in each fold.
        penalties: values of C, of all folds.
        device: of torch.

    Returns:
        weights [F, G, C, K + 1] of the columns of the widest fold and, last, the intercept (C = 1 for two classes);
        whether each converged [F, G].
    """
    with torch.inference_mode():
        objective = _Objective(features_FEK, label_FE, classes, penalties, device)
        return _descend(objective)


class _Matrices:
    """The features of all folds: [F, E, K] where dense; where sparse, one CSR matrix with the folds on its diagonal."""

    def __init__(self, features_FEK: list[Features], device: str):
        self.folds = len(features_FEK)
        self.rows, self.columns = (max(part.shape[axis] for part in features_FEK) for axis in (0, 1))
        if sp.issparse(features_FEK[0]):
            stacked = sp.vstack([self._in_its_block(part, f) for f, part in enumerate(features_FEK)], format="csr")
            self.matrix, self.transposed = (_csr(part, device) for part in (stacked, stacked.T.tocsr()))
        else:
            dense_FEK = np.zeros((self.folds, self.rows, self.columns), dtype=features_FEK[0].dtype)
            for fold, part in enumerate(features_FEK):
                dense_FEK[fold, : part.shape[0], : part.shape[1]] = part
            self.matrix = torch.from_numpy(dense_FEK).to(device).double()
            self.transposed = self.matrix.transpose(1, 2)

    def _in_its_block(self, part: sp.csr_array, fold: int) -> sp.csr_array:
        """[E, F · K]: a fold with empty rows below, in its columns of the diagonal."""
        ends = np.pad(part.indptr, (0, self.rows - part.shape[0]), mode="edge")
        shape = self.rows, self.folds * self.columns
        return sp.csr_array((part.data, part.indices + fold * self.columns, ends), shape=shape)

    def times(self, weights_FKGC: torch.Tensor) -> torch.Tensor:
        """[F, E, G, C]"""
        return self._product(self.matrix, weights_FKGC, self.rows)

    def transposed_times(self, residual_FEGC: torch.Tensor) -> torch.Tensor:
        """[F, K, G, C]"""
        return self._product(self.transposed, residual_FEGC, self.columns)

    def _product(self, matrix: torch.Tensor, right: torch.Tensor, rows: int) -> torch.Tensor:
        flat = right.flatten(2)  # one product for all penalties and classes
        if matrix.layout == torch.sparse_csr:
            flat = flat.flatten(0, 1)  # and for all folds
        return (matrix @ flat).view(self.folds, rows, *right.shape[2:])


def _csr(matrix: sp.csr_array, device: str) -> torch.Tensor:
    parts = [torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(*parts[:2], parts[2].double(), matrix.shape, check_invariants=True)


class _Objective:
    """The mean log loss and penalty of each fold × penalty, by their derivatives: their values are never needed."""

    def __init__(self, features_FEK, label_FE, classes, penalties, device):
        self.matrices = _Matrices(features_FEK, device)
        self.shape = self.matrices.folds, self.matrices.columns + 1, len(penalties), 1 if classes == 2 else classes
        share_FE = np.zeros((self.matrices.folds, self.matrices.rows))  # of an example in the loss; classes weigh alike
        target_FEC = np.zeros((*share_FE.shape, classes))
        for fold, label_E in enumerate(label_FE):
            share_FE[fold, : len(label_E)] = 1 / (classes * np.bincount(label_E, minlength=classes))[label_E]
            target_FEC[fold, np.arange(len(label_E)), label_E] = 1
        self.share = torch.from_numpy(share_FE[:, :, None, None]).to(device)
        self.target = torch.from_numpy(target_FEC[:, :, None, -self.shape[-1] :]).to(device)
        ridge_FG = 1 / np.outer([len(label_E) for label_E in label_FE], penalties)
        self.ridge = torch.from_numpy(ridge_FG[:, None, :, None]).to(device)

    def decisions(self, weights_FKGC: torch.Tensor) -> torch.Tensor:
        """[F, E, G, C]"""
        return self.matrices.times(weights_FKGC[:, :-1]) + weights_FKGC[:, -1:]

    def gradient(self, weights_FKGC: torch.Tensor, decision_FEGC: torch.Tensor) -> torch.Tensor:
        """[F, K + 1, G, C]"""
        residual_FEGC = self.share * (self._probability(decision_FEGC) - self.target)
        of_columns = self.matrices.transposed_times(residual_FEGC) + self.ridge * weights_FKGC[:, :-1]
        return torch.cat([of_columns, residual_FEGC.sum(1, keepdim=True)], 1)

    def along(self, weights_FKGC, decision_FEGC, direction_FKGC, turn_FEGC):
        """First and second derivative, as a function of the step in a direction that turns decisions by `turn_FEGC`."""
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


def _descend(objective: _Objective) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from zero; what has converged stands still, and a penalty that has in every fold leaves the batch."""
    folds, columns, penalties, classes = objective.shape
    found_FGCK = np.zeros((folds, penalties, classes, columns))
    converged_FG = np.zeros((folds, penalties), dtype=bool)
    left = np.arange(penalties)
    weights = torch.zeros(objective.shape, dtype=torch.float64, device=objective.share.device)
    decision = objective.decisions(weights)
    gradient = objective.gradient(weights, decision)
    if not gradient.isfinite().all():
        raise ValueError("features that are not finite numbers")
    past: list[list[torch.Tensor]] = []  # change of weights, of gradient, their inverse product, the scale of a step
    for iteration in range(ITERATIONS + 1):
        small = gradient.abs().amax((1, 3), keepdim=True) <= TOLERANCE
        leaves_G = small.flatten(1).all(0) | (iteration == ITERATIONS)  # [F, 1, G, 1] → [G]
        if leaves_G.any():
            gone, stays_G = left[leaves_G.cpu().numpy()], ~leaves_G
            found_FGCK[:, gone] = weights[:, :, leaves_G].permute(0, 2, 3, 1).cpu().numpy()
            converged_FG[:, gone] = small[:, 0, leaves_G, 0].cpu().numpy()
            left = left[stays_G.cpu().numpy()]
            if not len(left):
                break
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
    return found_FGCK, converged_FG


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


def _step(derivatives, still: torch.Tensor) -> torch.Tensor:
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
