"""L1 logistic regression: the penalty itself leaves latents out, as the probes of sae-probes do (arXiv 2502.16681)."""

import numpy as np

from tessera.probes.fitted import LinearProbe
from tessera.probes.kind import ProbeKind
from tessera.probes.logistic import converges, for_solver

TOLERANCE = 1e-6  # of liblinear, which gets there in hundredths of a second where saga has not in 5,000 rounds
INTERCEPT = 100.0  # liblinear penalises the intercept as the weight of a column of this value: next to nothing


class L1(ProbeKind):
    """Classes weigh alike however many examples they have. Several classes: each against the rest."""

    name = "l1"
    title = "L1"
    kinds = ("sae", "hidden")

    def candidates(self, penalties: list[float]) -> list[float]:
        return penalties

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> LinearProbe:
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        one = LogisticRegression(
            C=candidate,
            l1_ratio=1,
            solver="liblinear",
            intercept_scaling=INTERCEPT,
            class_weight="balanced",
            tol=TOLERANCE,
            max_iter=5000,
            random_state=seed,
        )
        model = OneVsRestClassifier(one)
        converged = converges(lambda: model.fit(for_solver(train_EK, columns_K), label_E))
        weights_CK = np.vstack([each.coef_ for each in model.estimators_])
        intercept_C = np.concatenate([each.intercept_ for each in model.estimators_])
        return LinearProbe.of(names, weights_CK, intercept_C, C=candidate, converged=converged, columns_K=columns_K)
