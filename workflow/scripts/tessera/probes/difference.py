"""Difference of means: the direction from one class's mean to the other's, with nothing fitted but the means.

The probe of Marks and Tegmark (2024, arXiv 2310.06824, "mass-mean") and AxBench (arXiv 2501.17148, "DiffMean"), in a
form for any number of classes: each class is a Gaussian around its mean, all of one variance in every direction that
tells the means apart. Of two classes that is their difference, its threshold midway between the means.
"""

import numpy as np

from tessera.features.spaces import Features, Space, Unscaled
from tessera.probes.fitted import LinearProbe, columns_of
from tessera.probes.kind import ProbeKind


class Difference(ProbeKind):
    name = "difference"
    title = "difference of means"
    kinds = ("sae", "hidden", "embeddings", "pixels")

    def space(self, kind, train, pooling, threshold) -> Space:
        """Hidden states as they are: scaled by dimension, the difference would be another direction."""
        space = kind.space(train, pooling, threshold)
        return Unscaled() if isinstance(train, np.ndarray) else space

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> LinearProbe:
        used_EK = columns_of(train_EK, columns_K)
        mean_CK = np.stack([_mean(used_EK[label_E == number]) for number in range(len(names))])
        middle_K = mean_CK.mean(axis=0)  # classes weigh alike
        around_CK = mean_CK - middle_K
        variance = _variance_between_means(used_EK, label_E, around_CK)
        weights_CK = around_CK / variance
        intercept_C = -(weights_CK @ middle_K) - (weights_CK * around_CK).sum(axis=1) / 2
        if len(names) == 2:
            weights_CK, intercept_C = np.diff(weights_CK, axis=0), np.diff(intercept_C)
        return LinearProbe.of(names, weights_CK, intercept_C, columns_K=columns_K)


def _mean(rows_EK: Features) -> np.ndarray:
    return np.asarray(rows_EK.mean(axis=0, dtype=np.float64)).ravel()


def _variance_between_means(train_EK: Features, label_E: np.ndarray, around_CK: np.ndarray) -> float:
    """The variance within classes along the directions that tell the means apart, mean over classes and directions."""
    _, size_D, direction_DK = np.linalg.svd(around_CK, full_matrices=False)
    direction_DK = direction_DK[size_D > 1e-9 * max(size_D.max(), 1e-300)]
    if not len(direction_DK):  # the means are one
        return 1.0
    along_ED = np.asarray(train_EK @ direction_DK.T, dtype=np.float64)
    within = [along_ED[label_E == number].var(axis=0).mean() for number in range(len(around_CK))]
    least = 1e-12 * float((around_CK**2).sum(axis=1).mean())  # classes of equal rows each
    return max(float(np.mean(within)), least)
