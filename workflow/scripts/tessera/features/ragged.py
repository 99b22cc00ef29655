"""Features of texts of unlike length: a row of numbers for each token."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tessera.features.spaces import Space

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
