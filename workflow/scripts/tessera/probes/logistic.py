"""L2 logistic regression: the probe that every kind of features has."""

import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from tessera.probes.fitted import LinearProbe, columns_of
from tessera.probes.kind import ProbeKind

DENSE = 2**21  # entries of a matrix up to which the solver has it dense: 16 MiB
TOLERANCE = 1e-6  # of folds and final fit: at 1e-3 one cell in four chose another C


class Logistic(ProbeKind):
    """Classes weigh alike however many examples they have; the intercept has no penalty."""

    name = "logistic"
    title = "logistic regression"
    on_gpu = True

    def on(self, device: str) -> ProbeKind:
        if device == "cpu":
            return self
        from tessera.probes.gpu import LogisticOnGpu

        return LogisticOnGpu(self)

    def candidates(self, penalties: list[float]) -> list[float]:
        return penalties

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> LinearProbe:
        model = self._model(candidate)
        converged = converges(lambda: model.fit(for_solver(train_EK, columns_K), label_E))
        return LinearProbe.of(
            names, model.coef_, model.intercept_, C=candidate, converged=converged, columns_K=columns_K
        )

    def fold_predictions(self, fold, names, candidates, columns_K, seed) -> list[np.ndarray]:
        """For ascending C, each fit starting from the last one's optimum."""
        inside, outside = (for_solver(part, columns_K) for part in (fold.inside_EK, fold.outside_EK))
        model = self._model(candidates[0], warm_start=True)
        return [model.set_params(C=C).fit(inside, fold.label_E).predict(outside) for C in candidates]

    def _model(self, C: float, warm_start: bool = False):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=C, class_weight="balanced", tol=TOLERANCE, max_iter=5000, warm_start=warm_start)


def converges(fit: Callable) -> bool:
    """Fit; did scikit-learn's solver come to its end?"""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fit()
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def for_solver(features_EK, columns_K: np.ndarray | None):
    """Double precision; dense where that is small, for a sparse product costs more to set up than such a one takes."""
    chosen = columns_of(features_EK, columns_K).astype(np.float64)
    return chosen.toarray() if sp.issparse(chosen) and np.prod(chosen.shape) <= DENSE else chosen
