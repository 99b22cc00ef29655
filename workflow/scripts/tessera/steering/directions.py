"""Directions in the residual stream that a labelled set gives, and for each the same without what the labels say.

The controls of a direction are made as it is, from labels shuffled between groups of training texts (of one latent:
other latents that fire as often). How far they differ in what they do is the luck of a direction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base.errors import TesseraError
from tessera.evidence.choice import largest
from tessera.evidence.decision import Decision, gaps, weights_of
from tessera.evidence.latents import firing
from tessera.evidence.necessity import fit_states, score_of
from tessera.evidence.ranking import matched
from tessera.evidence.sufficiency import DIFFERENCE, Scores, difference
from tessera.features.spaces import Standardised
from tessera.probes.fit import fit_at
from tessera.probes.fitted import LinearProbe
from tessera.probes.task import Task
from tessera.probes.verdicts import Effect, Scored, contrast, unseen
from tessera.steering.measures import CHANCE, RANDOM
from tessera.study.interventions import CLAMP, LATENT

SCHEMA = {
    "draw": pl.Int64,
    "controls": pl.Boolean,
    "vector": pl.List(pl.Float32),
    "latents": pl.List(pl.Int64),
    "weights": pl.List(pl.Float64),
    "largest": pl.Float64,
}
Found = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # vector [d]; latents, and their weights in it


@dataclass
class Source:
    """What directions are made from: the training texts of a data set at the hook of an SAE.

    features_EW: pooled latents of all texts. hidden_ED: their mean hidden states. W_WD: what a unit of each latent
    writes. number: of the class that is steered toward. k: latents of a direction. shards: where activations stand
    token by token.
    """

    task: Task
    decision: Decision
    features_EW: sp.csr_array
    hidden_ED: np.ndarray
    W_WD: np.ndarray
    number: int
    k: int
    shards: list[Path] = field(default_factory=list)

    @cached_property
    def largest_W(self) -> np.ndarray:
        """Largest activation of each latent at a token of the training texts."""
        task, width = self.task, len(self.W_WD)
        return firing(self.shards, task.label_E, task.train_E, len(task.classes), width).largest_WC.max(axis=1)

    @cached_property
    def label_E(self) -> np.ndarray:
        """Of training texts."""
        return self.task.label_E[self.task.train_E]

    @cached_property
    def acts_EW(self) -> sp.csr_array:
        """Pooled latents of training texts."""
        return self.features_EW[self.task.train_E]

    @cached_property
    def states_ED(self) -> np.ndarray:
        """Mean hidden states of training texts."""
        return self.hidden_ED[self.task.train_E]

    @cached_property
    def matrix_EK(self) -> sp.csr_array:
        """What the decision's probe sees of training texts."""
        return self.decision.matrix(self.acts_EW)

    @cached_property
    def states_probe(self) -> tuple[LinearProbe, Standardised]:
        """The probe of the hidden states, and its space."""
        return fit_states(self.task, self.hidden_ED)

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        """Labels of training texts, exchanged between groups: laid out group by group over the groups in another order.

        Classes keep their sizes, and groups as large as each other exchange their labels whole.
        """
        group_E = np.unique(self.task.examples["group"].to_numpy()[self.task.train_E], return_inverse=True)[1]
        moved_G, within_E = generator.permutation(group_E.max() + 1), generator.random(len(group_E))
        shuffled_E = np.empty_like(self.label_E)
        shuffled_E[np.lexsort((within_E, moved_G[group_E]))] = self.label_E[np.argsort(group_E, kind="stable")]
        return shuffled_E

    def telling(self, label_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights [C, K] of the decision's probe, and what each column adds to telling each class (`decision.gaps`).

        Of labels other than its own the probe is fitted anew, at the same C.
        """
        classes, probe = self.task.classes, self.decision.probe
        if label_E is not self.label_E:
            probe = fit_at(self.matrix_EK, label_E, classes, probe.C)
        totals = [np.asarray(self.matrix_EK[label_E == one].sum(axis=0)).ravel() for one in range(len(classes))]
        weights_CK, of_C = weights_of(probe), np.bincount(label_E, minlength=len(classes))
        return weights_CK, gaps(weights_CK, np.stack(totals), of_C)

    def written(self, latents: np.ndarray, weights: np.ndarray) -> Found:
        return weights @ self.W_WD[latents], latents, weights


def _probe(source: Source, label_E: np.ndarray) -> Found:
    """The k latents that add most to telling the class, among those that speak for it; weighted by what each adds."""
    weights_CK, gap_CK = source.telling(label_E)
    for_K = np.where(weights_CK[source.number] > 0, gap_CK[source.number], 0)
    columns = largest(for_K, source.k)
    return source.written(source.decision.latents_K[columns], for_K[columns])


def _correlation(source: Source, label_E: np.ndarray) -> Found:
    """The k latents that correlate most with the class, each at its mean activation in it.

    CorrSteer (Cho, Wu, Koshiyama 2025, arXiv 2508.12535), over training texts in place of generated tokens.
    """
    is_E = (label_E == source.number).astype(np.float64)
    acts_EW = source.acts_EW.astype(np.float64)
    mean_W = np.asarray(acts_EW.mean(axis=0)).ravel()
    spread_W = np.sqrt(np.maximum(0, np.asarray(acts_EW.power(2).mean(axis=0)).ravel() - mean_W**2))
    together_W = acts_EW.T @ (is_E - is_E.mean()) / len(is_E)
    correlation_W = np.divide(together_W, spread_W * is_E.std(), out=np.zeros_like(mean_W), where=spread_W > 1e-12)
    latents = largest(correlation_W, source.k)
    return source.written(latents, np.asarray(acts_EW[is_E > 0][:, latents].mean(axis=0)).ravel())


def _difference(source: Source, label_E: np.ndarray) -> Found:
    """Mean state of the class, less that of all other texts."""
    is_E = label_E == source.number
    return source.states_ED[is_E].mean(axis=0) - source.states_ED[~is_E].mean(axis=0), None, None


def _hidden(source: Source, label_E: np.ndarray) -> Found:
    """The weights that a probe of the hidden states has for the class."""
    probe, space = source.states_probe
    if label_E is not source.label_E:
        probe = fit_at(space.apply(source.states_ED), label_E, source.task.classes, probe.C)
    return weights_of(probe)[source.number] / space.scaler.scale_, None, None


OF_LABELS: dict[str, Callable[[Source, np.ndarray], Found]] = {
    "probe": _probe,
    "correlation": _correlation,
    "difference": _difference,
    "hidden": _hidden,
}


def directions(name: str, source: Source, draws: int) -> pl.DataFrame:
    """A direction (draw 0) and its controls (draws 1 and on), of unit norm; random ones are controls alone.

    name: of OF_LABELS, `random`, or `latent-` or `clamp-` with a number; the last has its largest activations too.

    Raises:
        TesseraError: the labels give no direction; a latent to clamp never fires.
    """
    rows, clamped = [], name.startswith(CLAMP)
    for draw, control, (vector_D, latents, weights) in _several(name, source, draws):
        norm = np.linalg.norm(vector_D)
        if not norm > 0:
            raise TesseraError(
                f"direction {name}: nothing speaks for the class {source.task.classes[source.number]!r} "
                f"(draw {draw}); leave this direction out, or choose another class"
            )
        parts = [None if part is None else part.tolist() for part in (latents, weights)]
        largest_one = float(source.largest_W[latents[0]]) if clamped else None
        if clamped and not largest_one:
            raise TesseraError(f"direction {name}: latent {latents[0]} fires on no training text; clamp another")
        rows.append((draw, control, (vector_D / norm).tolist(), *parts, largest_one))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _several(name: str, source: Source, draws: int) -> Iterator[tuple[int, bool, Found]]:
    generators = [np.random.default_rng([source.task.seed, draw]) for draw in range(draws + 1)]
    if name == RANDOM:
        for draw in range(1, draws + 1):
            yield draw, True, (generators[draw].normal(size=source.hidden_ED.shape[1]), None, None)
    elif name in OF_LABELS:
        yield 0, False, OF_LABELS[name](source, source.label_E)
        for draw in range(1, draws + 1):
            yield draw, True, OF_LABELS[name](source, source.shuffled(generators[draw]))
    else:
        latent = int(name.removeprefix(LATENT).removeprefix(CLAMP))
        rate_W = np.asarray((source.acts_EW != 0).mean(axis=0)).ravel()
        yield 0, False, source.written(np.array([latent]), np.ones(1))
        alive = np.union1d(np.flatnonzero(rate_W), [latent])
        for draw in range(1, draws + 1):
            traits_KT = np.log(np.maximum(rate_W[alive], 1e-9))[:, None]
            alike = alive[matched(np.flatnonzero(alive == latent), traits_KT, generators[draw])]
            if not len(alike):
                raise TesseraError(f"direction {name}: {draw - 1} other latents fire on training texts; lower draws")
            yield draw, True, source.written(alike, np.ones(len(alike)))
            alive = np.setdiff1d(alive, alike)  # each once


def tells(source: Source, found: pl.DataFrame) -> pl.DataFrame:
    """Does what a direction is made of tell its class on the test split? A row, as claims rest on: ROC AUC less .5.

    Of the activations of its latents, weighted as in it; of one that is made of mean states, of a probe of these. Where
    labels mean nothing it does not, and so no claim holds, however rarely such a direction moves a model by luck.
    """
    if found["controls"][0]:  # random
        return pl.DataFrame(schema=DIFFERENCE)
    task, one = source.task, found.row(0, named=True)
    test_E = task.split_E == "test"
    if one["latents"] is None:
        probe, space = source.states_probe
        score_E = probe.probabilities(space.apply(source.hidden_ED[test_E]))[:, source.number]
    else:
        score_E = source.features_EW[test_E][:, one["latents"]] @ np.array(one["weights"])
    told_EC = np.zeros((len(score_E), len(task.classes)))
    told_EC[:, source.number] = score_E
    told = Scores([task]).scored([[told_EC]], partial(score_of, source.number, "roc_auc"))
    auc = contrast(told, Scored(np.zeros((1, 1)), np.zeros_like(told.influence_RG)))
    of_class = int((task.label_E[test_E] == source.number).sum())
    rarest = max(1, min(of_class, len(score_E) - of_class))
    effect = Effect(auc.difference - CHANCE, [*auc.parts, unseen(auc.error**2, 2 * rarest)])
    return pl.DataFrame([difference("chance on held-out texts", effect, (1, 1), len(score_E))], schema=DIFFERENCE)
