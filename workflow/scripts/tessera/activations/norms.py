"""Norms of tokens, counted so that shards add up to one distribution."""

from dataclasses import dataclass, field

import numpy as np

from tessera.base import histograms


@dataclass
class Norms:
    """The norms of a layer's content tokens in one shard, and where the massive ones stand."""

    bins: dict[int, int] = field(default_factory=dict)
    largest: float = 0.0
    massive: int = 0
    first: int = 0  # of the massive, those that are the first content token of their text
    in_front: int = 0  # content tokens in front of the massive, summed
    texts: int = 0  # that have a massive token

    def add(self, norm_N: np.ndarray, massive_N: np.ndarray, counts_B: np.ndarray) -> None:
        """Count the tokens of B texts, which stand together."""
        for number, count in zip(*histograms.count(norm_N), strict=True):
            self.bins[int(number)] = self.bins.get(int(number), 0) + int(count)
        self.largest = max(self.largest, float(norm_N.max()))
        text_N = np.repeat(np.arange(len(counts_B)), counts_B)
        place_N = np.arange(len(norm_N)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
        self.massive += int(massive_N.sum())
        self.first += int((place_N[massive_N] == 0).sum())
        self.in_front += int(place_N[massive_N].sum())
        self.texts += len(np.unique(text_N[massive_N]))

    def row(self) -> dict:
        """Columns of a shard's summary."""
        bins = sorted(self.bins)
        return {
            "norm_bins": bins,
            "norm_counts": [self.bins[number] for number in bins],
            "norm_largest": self.largest,
            "massive": self.massive,
            "massive_first": self.first,
            "massive_in_front": self.in_front,
            "massive_texts": self.texts,
        }
