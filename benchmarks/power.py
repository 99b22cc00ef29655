"""What size of study decides what: the smallest difference in macro F1 that four studies in five find, at .05.

Studies as in verdicts.py, but one of the two classifiers is better; where data sets differ, its lead varies between
them with the standard deviation that a setting says. `python benchmarks/power.py [studies]` prints a row per setting:
the difference that the primary claim decides on these data sets alone, and for data sets to come.
"""

import sys

import library  # noqa: F401 (makes it importable)
import numpy as np
from scipy.stats import norm
from tessera.results.claims import judge
from tessera.results.contestants import ALL, THESE
from verdicts import ACCURACY, contrast

POWER = 0.8
LEADS = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8])  # of the better one, in probits
# Data sets, test texts of each, repeats, standard deviation of the lead between data sets in macro F1.
SETTINGS = [
    *((1, tested, repeats, 0.0) for tested in (40, 100, 300, 1000) for repeats in (1, 5)),
    *((sets, 40, 3, spread) for sets in (5, 10, 20) for spread in (0.0, 0.03)),
    *((sets, 200, 3, spread) for sets in (5, 10, 20) for spread in (0.0, 0.03)),
]


def gain(lead):
    """The difference in macro F1, which balanced classes have in common with accuracy, of a lead in probits."""
    return norm.cdf(norm.ppf(ACCURACY) + lead) - ACCURACY


def decided(rng, sets, tested, repeats, spread, lead):
    """Is the first claim of one study decided for these data sets, and for those to come?"""
    leads = lead + spread / norm.pdf(norm.ppf(ACCURACY)) * rng.normal(size=sets)
    pairs = [contrast(f"d{number}", tested, 0.5, repeats, rng, one) for number, one in enumerate(leads)]
    found = dict(judge(pairs, "left > right").select("on", "p").iter_rows())
    return [found.get(on, found.get("d0")) < 0.05 for on in (THESE, ALL)]


def smallest(rates):
    """The difference at which the rate first reaches POWER, by linear interpolation; none where it never does."""
    above = np.flatnonzero(rates >= POWER)
    if not len(above):
        return "over .16"
    return f"{np.interp(POWER, np.maximum.accumulate(rates[: above[0] + 1]), gain(LEADS[: above[0] + 1])):.3f}"


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("sets  test texts  repeats  spread  these data sets  data sets to come")
    for number, (sets, tested, repeats, spread) in enumerate(SETTINGS):
        rng = np.random.default_rng([number, 1])
        rates = np.array(
            [
                np.mean([decided(rng, sets, tested, repeats, spread, lead) for _ in range(studies)], axis=0)
                for lead in LEADS
            ]
        )
        these, to_come = (smallest(column) for column in rates.T)
        print(f"{sets:4}  {tested:10}  {repeats:7}  {spread:6}  {these:>15}  {to_come:>17}", flush=True)


if __name__ == "__main__":
    main()
