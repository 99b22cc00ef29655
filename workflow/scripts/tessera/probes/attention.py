"""Attention probe: heads learn which tokens of a text to read, and what they read there decides.

As EleutherAI has it (github.com/EleutherAI/attention-probes, commit 889b8de, attention_probe/attention_probe.py;
without dropout, tanh and MLP). Of a text whose tokens have the states x_t

    decision = intercept + Σ_h Σ_t softmax_t(query_h · x_t + slope_h · position_t) (value_h · x_t)

one per class, or one of two; intercepts of values add up to one. Penalty and classes are those of the logistic
regression (mean log loss, classes weighing alike, + `|query, slope, value|² / (2 C E)`), which it is, of mean tokens,
where queries and slopes are zero. The objective is not convex: see `heads.path` for where its optimum is sought.
"""

import numpy as np

from tessera.probes.fitted import Probe
from tessera.probes.kind import ProbeKind


class Attention(ProbeKind):
    name = "attention"
    title = "attention"
    linear = False
    environment = "exports"  # torch beside what all probes need
    on_gpu = True

    def __init__(self, device: str = "cpu"):
        self.device = device

    def on(self, device: str) -> ProbeKind:
        if device == "cpu":
            return self
        from tessera.probes.gpu import pick_device

        return Attention(pick_device())

    def candidates(self, penalties: list[float]) -> list[dict]:
        """Each penalty with those below it, on the way to which its optimum lies."""
        return [{"C": penalties[: number + 1]} for number in range(len(penalties))]

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> Probe:
        *_, probe = self._path(train_EK, label_E, names, candidate, seed)
        return probe

    def fold_predictions(self, fold, names, candidates, columns_K, seed) -> list[np.ndarray]:
        probes = self._path(fold.inside_EK, fold.label_E, names, candidates[-1], seed)
        return [probe.probabilities(fold.outside_EK).argmax(axis=1) for probe in probes]

    def _path(self, train_EK, label_E, names, candidate, seed):
        from tessera.probes.heads import path

        return path(train_EK, label_E, names, candidate["C"], seed, self.device)
