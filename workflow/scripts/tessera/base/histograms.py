"""Positive values counted in bins of equal ratio, so that parts of a distribution add up to the whole."""

import numpy as np
import polars as pl

BINS = 1000  # to a factor of e: a value is known to a thousandth
LEAST = 1e-9


def count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bins that values fall into, ascending, and how many fall into each."""
    return np.unique(np.rint(BINS * np.log(np.maximum(values, LEAST))).astype(np.int32), return_counts=True)


def quantile(q: float, bins: str, counts: str) -> pl.Expr:
    """The value that a share `q` does not exceed, of summed counts that stand by ascending bins in columns."""
    below = pl.col(counts).cum_sum() / pl.col(counts).sum()
    return (pl.col(bins) / BINS).exp().filter(below >= q).first()
