"""The length of a text: what it tells by itself."""

import numpy as np


def lengths(texts: np.ndarray) -> np.ndarray:
    """Characters and words of each text, and the logarithms of both: float32 [E, 4]."""
    counts_E2 = np.array([(len(text), len(text.split())) for text in texts], dtype=np.float32)
    return np.hstack([counts_E2, np.log1p(counts_E2)])
