"""Spaces: what is fitted on training rows, without their labels, and then makes the matrix of any rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from tessera.study.grid import parse_threshold

READ_AT_ONCE = 8192  # tokens


@dataclass(frozen=True)
class TokenStates:
    """The states of the tokens of E examples; some of its rows, `states[rows_E]`, share its tokens with it.

    state_ND: of all tokens there are, float16 or float32, those of an example one below the other. position_N: numbers
    of the tokens among the content tokens of their examples. first_E, count_E: where an example's tokens begin, and how
    many there are. space: the one that they are read in, once there is one.
    """

    state_ND: np.ndarray
    position_N: np.ndarray
    first_E: np.ndarray
    count_E: np.ndarray
    space: "Space | None" = None

    def __len__(self) -> int:
        return len(self.first_E)

    def __getitem__(self, rows_E: np.ndarray) -> "TokenStates":
        return replace(self, first_E=self.first_E[rows_E], count_E=self.count_E[rows_E])

    @property
    def shape(self) -> tuple[int, int]:
        """Examples, and numbers of a token."""
        return len(self), self.state_ND.shape[1]

    @property
    def tokens_N(self) -> np.ndarray:
        """Where the tokens of these examples stand in `state_ND`, example by example."""
        ends_E = np.cumsum(self.count_E)
        return np.repeat(self.first_E - ends_E + self.count_E, self.count_E) + np.arange(ends_E[-1])

    def parts(self) -> Iterator[np.ndarray]:
        """The states of these examples' tokens, some at a time, in double precision."""
        tokens_N = self.tokens_N
        for start in range(0, len(tokens_N), READ_AT_ONCE):
            yield self.state_ND[tokens_N[start : start + READ_AT_ONCE]].astype(np.float64)


Features = sp.csr_array | np.ndarray | TokenStates  # [E, W]; texts [E] for n-grams


def density(matrix_EK: Features) -> float:
    """The share of entries that are not 0; states of tokens have no zeros."""
    if isinstance(matrix_EK, TokenStates):
        return 1.0
    nonzeros = matrix_EK.nnz if sp.issparse(matrix_EK) else np.count_nonzero(matrix_EK)
    return nonzeros / max(1, matrix_EK.shape[0] * matrix_EK.shape[1])


class Space(ABC):
    """Makes the matrix that a probe sees.

    columns_K: the columns of the features that its columns are (None: all of them, in order).
    scale_K: what each was divided by (None: nothing that a reader of the coefficients needs).
    tau: the threshold that the features were held against (None: they keep their values).
    """

    tau: float | None = None
    columns_K: np.ndarray | None = None
    scale_K: np.ndarray | None = None

    @abstractmethod
    def apply(self, features: Features) -> Features:
        """The matrix [E, K] of any rows, float32."""


class Standardised(Space):
    """Zero mean and unit variance per dimension of the training rows."""

    def __init__(self, train_ED: np.ndarray):
        from sklearn.preprocessing import StandardScaler  # the rules ask kinds of features too, and fit nothing

        self.scaler = StandardScaler().fit(train_ED)

    def apply(self, features: np.ndarray) -> np.ndarray:
        return self.scaler.transform(features).astype(np.float32)


class Unscaled(Space):
    """The features as they are."""

    def apply(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(features, dtype=np.float32)


@dataclass
class Thresholding(Space):
    """A threshold fitted on the training split.

    tau: 1[pooled > tau], or None to keep the pooled value scaled by `scale_K` (max-abs of the training split).
    columns_K: the latents that fire in the training split (one at least); dropping the others changes no fit.
    """

    tau: float | None
    columns_K: np.ndarray
    scale_K: np.ndarray

    @classmethod
    def fit(cls, train_EW: sp.csr_array, threshold: str) -> "Thresholding":
        """Fit `threshold` (none, a number, or qP: the P-th percentile of the positive values) on training features."""
        how, value = parse_threshold(threshold)
        if how == "quantile":
            positive = train_EW.data[train_EW.data > 0]
            value = float(np.quantile(positive, value)) if len(positive) else 0.0
        kept_EW = train_EW if value is None else _above(train_EW, value)
        fires_W = np.bincount(kept_EW.indices, minlength=train_EW.shape[1]) > 0
        columns_K = np.flatnonzero(fires_W) if fires_W.any() else np.zeros(1, dtype=np.int64)  # a probe needs a column
        scale_K = abs(kept_EW[:, columns_K]).max(axis=0).toarray().ravel()
        return cls(value, columns_K, np.where(scale_K > 0, scale_K, 1).astype(np.float32))

    def apply(self, features: sp.csr_array) -> sp.csr_array:
        kept_EK = (features if self.tau is None else _above(features, self.tau))[:, self.columns_K]
        return sp.csr_array(kept_EK.multiply(1 / self.scale_K) if self.tau is None else kept_EK, dtype=np.float32)


def _above(features_EW: sp.csr_array, tau: float) -> sp.csr_array:
    above_EW = features_EW.copy()  # eliminate_zeros works in place, on indices that a view would share
    above_EW.data = (features_EW.data > tau).astype(np.float32)
    above_EW.eliminate_zeros()
    return above_EW
