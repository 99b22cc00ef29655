"""The length of a text: what it tells by itself."""

import numpy as np

from tessera.examples.examples import read_texts
from tessera.features.kind import Kind, Stored


class Length(Kind):
    name = "length"
    title = "text length"
    media = ("text",)
    axes = ()
    transfers = False

    def load(self, stored: Stored, pooling: str | None) -> np.ndarray:
        return lengths(read_texts(stored.examples))


def lengths(texts: np.ndarray) -> np.ndarray:
    """Characters and words of each text, and the logarithms of both: float32 [E, 4]."""
    counts_E2 = np.array([(len(text), len(text.split())) for text in texts], dtype=np.float32)
    return np.hstack([counts_E2, np.log1p(counts_E2)])
