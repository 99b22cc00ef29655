"""Verdicts: a difference, what it owes to chance, and what that decides.

An effect is a mean of differences over draws (of dictionaries, of control weights) and repeats (of the split). Its
variance has a part per source of chance, each with its degrees of freedom:

- test examples: the sum of squared influence values of their groups, repeats summed first, so that an example that
  several repeats test counts as one. Degrees of freedom (Σu²)² / Σu⁴: where k examples alone differ, k.
- training sets: how far differences vary between repeats beyond what their test examples explain, corrected for the
  overlap of training sets (Nadeau and Bengio 2003): times 1/J + n_test / n_train. (Their own estimate takes all the
  variance from the J repeats; with J = 5 its t has 4 degrees of freedom, where the test examples have hundreds.)
- draws: the variance between draws over their number.

The parts are added as Welch and Satterthwaite do.
"""

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from scipy.special import stdtr, stdtrit

from tessera.examples.splits import TEST_PARTS

OVERLAP = 1 / (TEST_PARTS - 1)  # n_test / n_train of the split that repeats draw
ROUNDING = 1e-12  # a standard error below that is of sides that say the same
ALPHA = 0.05
NORMAL = 1e12  # degrees of freedom
UNSEEN = 1.5  # over n: half of what n texts that are all alike leave open, 3 / n (rule of three)
ALPHA_OTHERS = 0.01  # of all other claims of a study, as long as its primary claim is not decided


@dataclass(frozen=True)
class Part:
    """A part of a variance, with its degrees of freedom."""

    variance: float
    freedom: float


@dataclass
class Effect:
    """A difference and the parts of its variance.

    repeats: that of each repeat alone. draws_D: the difference in each draw of a side, or of both together.
    influence_G: what each group of test examples adds. most: how far two sides can differ; no score differs by more
    than 1.
    """

    difference: float
    parts: list[Part]
    repeats: list["Effect"] = field(default_factory=list)
    draws_D: list[np.ndarray] = field(default_factory=list)
    influence_G: np.ndarray = field(default_factory=lambda: np.zeros(0))
    most: float = 1.0

    @property
    def error(self) -> float:
        """Standard error; 0 of sides that say the same."""
        found = float(np.sqrt(sum(part.variance for part in self.parts)))
        return found if found > ROUNDING else 0.0

    @property
    def freedom(self) -> float:
        """Degrees of freedom."""
        if not np.isfinite(self.error):
            return 1.0
        known = [part for part in self.parts if part.variance > ROUNDING**2]
        shares = sum(part.variance**2 / part.freedom for part in known)
        return sum(part.variance for part in known) ** 2 / shares if known else 1.0

    @property
    def p(self) -> float:
        """Two-sided p value of no difference."""
        if self.error == 0:
            return 1.0
        return float(2 * stdtr(self.freedom, -abs(self.difference) / self.error))

    def agree(self, verdict: str) -> float | None:
        """Share of the repeats that come to this verdict by themselves, at ALPHA."""
        if not self.repeats:
            return None
        return float(np.mean([decide(one, 1 - ALPHA)["verdict"] == verdict for one in self.repeats]))

    def interval(self, level: float) -> tuple[float, float]:
        if self.error == 0:
            return self.difference, self.difference
        half = self.error * quantile(level, self.freedom)
        return max(-self.most, self.difference - half), min(self.most, self.difference + half)


def quantile(level: float, freedom: float) -> float:
    """How many standard errors an interval of this level reaches to either side: of Student's t."""
    return float(stdtrit(min(freedom, 1e12), (1 + level) / 2))


def of_tests(influence_G: np.ndarray) -> Part:
    """The part of test examples."""
    squares_G = influence_G[influence_G != 0] ** 2
    if not len(squares_G):
        return Part(0.0, 1.0)
    groups = max(2, len(influence_G))
    return Part(squares_G.sum() * groups / (groups - 1), squares_G.sum() ** 2 / (squares_G**2).sum())


def unseen(variance: float, texts: float) -> Part:
    """What lifts a variance to that of n texts that are all alike, of which 3 / n may be otherwise elsewhere."""
    return Part(max(0.0, (UNSEEN / texts) ** 2 - variance), NORMAL)


def of_training(difference_R: np.ndarray, influence_RG: np.ndarray) -> Part:
    """The part of training sets: variance between repeats that their test examples do not explain."""
    repeats = len(difference_R)
    if repeats < 2:
        return Part(0.0, 1.0)
    covariance_RR = influence_RG @ influence_RG.T
    explained = (np.trace(covariance_RR) - covariance_RR.sum() / repeats) / (repeats - 1)
    beyond = max(0.0, difference_R.var(ddof=1) - explained)
    return Part(beyond * (1 / repeats + OVERLAP), repeats - 1)


def of_draws(difference_D: np.ndarray) -> Part:
    """The part of draws; nothing where there is one alone, whose luck cannot be seen."""
    draws = len(difference_D)
    return Part(difference_D.var(ddof=1) / draws, draws - 1) if draws > 1 else Part(0.0, 1.0)


@dataclass
class Scored:
    """A contestant on one test split: its score in each draw and repeat, and the influence of each group of examples.

    influence_RG: mean over draws; 0 of groups that the repeat does not test. drawn: what has the draws.
    """

    value_DR: np.ndarray
    influence_RG: np.ndarray
    drawn: frozenset = frozenset()


def contrast(left: Scored, right: Scored) -> Effect:
    """The difference of two contestants on the same test examples."""
    difference_R = left.value_DR.mean(axis=0) - right.value_DR.mean(axis=0)
    influence_RG = left.influence_RG - right.influence_RG
    if left.drawn & right.drawn:  # one dictionary under both: each draw by itself
        draws_D = [left.value_DR.mean(axis=1) - right.value_DR.mean(axis=1)]
    else:
        draws_D = [left.value_DR.mean(axis=1), -right.value_DR.mean(axis=1)]
    influence_G = influence_RG.mean(axis=0)
    drawn = [*map(of_draws, draws_D)]
    repeats = [
        Effect(float(difference), [of_tests(one_G), *drawn])
        for difference, one_G in zip(difference_R, influence_RG, strict=True)
    ]
    parts = [of_tests(influence_G), of_training(difference_R, influence_RG), *drawn]
    return Effect(float(difference_R.mean()), parts, repeats, draws_D, influence_G)


def on_these(effects: list[Effect], groups: list[list[str]]) -> Effect:
    """The mean effect on the data sets at hand; groups of test examples that have one name are one."""
    sets = len(effects)
    number = {name: index for index, name in enumerate(dict.fromkeys(chain(*groups)))}
    influence_G = np.zeros(len(number))
    for effect, names in zip(effects, groups, strict=True):
        influence_G[[number[name] for name in names]] += effect.influence_G / sets
    training = [effect.parts[1] for effect in effects]
    parts = [of_tests(influence_G), *(Part(part.variance / sets**2, part.freedom) for part in training)]
    draws = _common_draws(effects)
    drawn = [*map(of_draws, draws)]
    repeats = [
        Effect(
            float(np.mean([one.difference for one in each])),
            [*(Part(one.parts[0].variance / sets**2, one.parts[0].freedom) for one in each), *drawn],
        )
        for each in _by_repeat(effects)
    ]
    return Effect(float(np.mean([effect.difference for effect in effects])), [*parts, *drawn], repeats, draws)


def to_come(effects: list[Effect], samples: list[str]) -> Effect:
    """The mean effect on data sets of which these are a sample: a t interval over them.

    samples: a name for each data set; those with common examples, such as translations, have one name and count as one.
    """
    draws = _common_draws(effects)  # one control for all data sets: its luck is not seen in their spread
    drawn = [*map(of_draws, draws)]
    repeats = [Effect(*_over_samples([one.difference for one in each], samples, drawn)) for each in _by_repeat(effects)]
    return Effect(*_over_samples([effect.difference for effect in effects], samples, drawn), repeats, draws)


def _over_samples(differences: list[float], samples: list[str], drawn: list[Part]) -> tuple[float, list[Part]]:
    """Mean over the means of samples, and the parts of its variance."""
    of_one = {name: [] for name in samples}
    for difference, name in zip(differences, samples, strict=True):
        of_one[name].append(difference)
    means = np.array([np.mean(some) for some in of_one.values()])
    spread = means.var(ddof=1) / len(means) if len(means) > 1 else np.inf
    return float(means.mean()), [Part(spread, max(1, len(means) - 1)), *drawn]


def _common_draws(effects: list[Effect]) -> list[np.ndarray]:
    """Mean over data sets of the difference in each draw; data sets with fewer draws have theirs again."""
    several = zip(*(effect.draws_D for effect in effects), strict=False)
    return [np.mean([np.resize(draws, max(map(len, every))) for draws in every], axis=0) for every in several]


def _by_repeat(effects: list[Effect]) -> list[tuple[Effect, ...]]:
    """Of each repeat the effects on all data sets; a data set with one repeat has it in each."""
    repeats = max(len(effect.repeats) for effect in effects)
    return [tuple(effect.repeats[number % len(effect.repeats)] for effect in effects) for number in range(repeats)]


def decide(effect: Effect, level: float) -> dict:
    """Interval and verdict at a level: does the whole interval lie above zero, below, or neither?"""
    low, high = effect.interval(level)
    verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
    if effect.error == 0:
        verdict = "undecided"  # nothing differs, or a single example
    return {"difference": effect.difference, "difference_low": low, "difference_high": high, "verdict": verdict}


def levels(p_values: list[float], primary: int | None) -> list[float]:
    """The level of each claim's interval in a study.

    The primary claim is tested at ALPHA. All others share ALPHA by Holm's procedure once it is decided, and
    ALPHA_OTHERS as long as it is not: the chance of any wrong verdict in a study is at most their sum. Without a
    primary claim all share ALPHA.
    """
    found = [1 - ALPHA] * len(p_values)
    alpha = ALPHA if primary is None or p_values[primary] < ALPHA else ALPHA_OTHERS
    others = sorted((p, index) for index, p in enumerate(p_values) if index != primary)
    open_to, passed = alpha, True
    for rank, (p, index) in enumerate(others):
        open_to = alpha / (len(others) - rank) if passed else open_to
        found[index] = 1 - open_to
        passed = passed and p < open_to
    return found
