"""How often verdicts are wrong where there is nothing to find, and what they find where there is: simulated studies.

Two classifiers of equal skill, whose mistakes are shared by half (a common difficulty of each text), on data sets that
are split anew in each repeat; training sets, and draws of a dictionary, shift a classifier's skill where a setting says
so. Their predictions go through the claims as a study's do. `python benchmarks/verdicts.py [studies]` prints a row per
setting: the share of studies in which any row of the claim, its first row and the row of one data set are decided.
"""

import sys

import library  # noqa: F401 (makes it importable)
import numpy as np
import polars as pl
from scipy.stats import norm
from tessera.results.claims import Contrast, Side, judge
from tessera.results.contestants import ALL, THESE
from tessera.results.search import TestSplit

ACCURACY, SHARED, PARTS = 0.8, 0.5, 5


def answers(y_E, difficulty_E, tests_R, side, rng, *, skill=0.0, training=0.0, draws=1, luck=0.0):
    """Predictions of one classifier in each draw and repeat.

    training, luck: standard deviation of its skill over training sets and over draws, in probits; half of the former is
    common to all repeats, whose training sets overlap.
    """
    common = training * SHARED**0.5 * rng.normal()
    own_E = rng.normal(size=len(y_E)) * (1 - SHARED) ** 0.5
    frames = []
    for draw in range(draws):
        drawn = skill + luck * rng.normal()
        for repeat, test_E in enumerate(tests_R):
            limit = norm.ppf(ACCURACY) + drawn + common + training * (1 - SHARED) ** 0.5 * rng.normal()
            right_E = difficulty_E * SHARED**0.5 + own_E < limit
            said_E = np.where(right_E, y_E, 1 - y_E)[test_E]
            place = {"side": side, "draw": draw, "repeat": repeat}
            rows = pl.DataFrame({"group": test_E, "label": y_E[test_E], "predicted": said_E})
            frames.append(
                rows.with_columns(id=pl.col("group").cast(pl.String), **{k: pl.lit(v) for k, v in place.items()})
            )
    return pl.concat(frames)


def contrast(name, tested, share, repeats, rng, effect=0.0, **drawn):
    """One data set: `tested` texts in each of `repeats` test splits, a share of them of the second class."""
    size = tested * PARTS
    y_E = np.zeros(size, dtype=np.int64)
    y_E[: max(PARTS * 2, round(size * share))] = 1
    tests_R = []
    for _ in range(repeats):  # stratified, as splits are
        parts = [rng.permutation(np.flatnonzero(y_E == c)) for c in (0, 1)]
        tests_R.append(np.sort(np.concatenate([part[: len(part) // PARTS] for part in parts])))
    difficulty_E = rng.normal(size=size)
    sides = [
        answers(y_E, difficulty_E, tests_R, "left", rng, skill=effect, **drawn),
        answers(y_E, difficulty_E, tests_R, "right", rng, **drawn),
    ]
    tests = TestSplit(pl.concat(sides), ["side"])
    scored = [tests.scored({repeat: [(side,)] for repeat in tests.repeats}) for side in ("left", "right")]
    groups = [f"{name}: {group}" for group in tests.groups]
    return Contrast("left > right", name, "test", *(Side(s, s, "", 1) for s in scored), groups, tests.examples, name)


def study(rng, sets, tested, share, repeats, spread=0.0, mean=0.0, **drawn):
    """Verdicts of one study: (any row, the first row, a row of one data set) decided?"""
    effects = mean + spread * rng.normal(size=sets)
    pairs = [contrast(f"d{n}", tested, share, repeats, rng, effect, **drawn) for n, effect in enumerate(effects)]
    found = judge(pairs, "left > right")
    decided = found["verdict"] != "undecided"
    each = found.select(~pl.col("on").is_in([ALL, THESE])).to_series()
    return decided.any(), decided[0], decided.filter(each)[0]


# Data sets, test texts, share of the rarer class, repeats; then what differs.
SETTINGS = [
    *((sets, tested, share, 1, {}) for sets in (1, 7) for tested in (40, 100, 300, 1000) for share in (0.5, 0.1)),
    *((sets, tested, 0.5, 5, {}) for sets in (1, 7) for tested in (40, 200)),
    (1, 200, 0.5, 5, {"training": 0.05}),
    (7, 200, 0.5, 5, {"training": 0.05}),
    (7, 100, 0.5, 1, {"spread": 0.21}),  # .06 of macro F1
    (7, 100, 0.5, 5, {"spread": 0.21}),
    (1, 1000, 0.5, 1, {"draws": 3, "luck": 0.1}),
    (1, 200, 0.5, 5, {"draws": 3, "luck": 0.1}),
]


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print("sets  test texts  rarer  repeats  differs                    any row  first row  one set")
    for number, (sets, tested, share, repeats, more) in enumerate(SETTINGS):
        rng = np.random.default_rng([number, 0])
        rates = np.mean([study(rng, sets, tested, share, repeats, **more) for _ in range(studies)], axis=0)
        place = f"{sets:4}  {tested:10}  {share:5}  {repeats:7}  {more!s:25}"
        print(f"{place}  {rates[0]:7.3f}  {rates[1]:9.3f}  {rates[2]:7.3f}", flush=True)


if __name__ == "__main__":
    main()
