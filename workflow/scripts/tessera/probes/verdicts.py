"""Verdicts: an interval of a difference, and what it decides."""

import numpy as np

from tessera.probes.metrics import with_interval

RESAMPLES_IN_TAIL, RESAMPLES_MOST = 5, 20_000


def enough(resamples: int, level: float) -> int:
    """How many resamples to take for an interval of this level, so that some are left in its tails."""
    return min(RESAMPLES_MOST, max(resamples, round(2 * RESAMPLES_IN_TAIL / (1 - level))))


def decided(values_B: np.ndarray, level: float) -> dict:
    """Difference, interval and verdict of a paired bootstrap: row 0 is the sample itself."""
    interval = with_interval("difference", values_B, level)
    low, high = interval["difference_low"], interval["difference_high"]
    verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
    return interval | {"level": level, "verdict": verdict}
