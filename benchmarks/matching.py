"""Matching two SAEs of 16,384 latents: time and peak memory, over pooled examples and over tokens.

python benchmarks/matching.py [--rounds 1] [--width 16384]

SAE B is SAE A with its latents permuted, and noise of a third of its activations. Rates of latents are log-normal.
"""

import argparse

import library  # noqa: F401 (makes it importable)
import numpy as np
from harness import side_by_side, table

ROWS = {"5,000 examples, 3 % dense": (5000, 0.03), "100,000 tokens, L0 70": (100_000, 70 / 16384)}


def activations(rows: int, width: int, density: float, generator: np.random.Generator):
    import scipy.sparse as sp

    rate_W = generator.lognormal(0, 1.5, width)
    rate_W = np.minimum(rate_W / rate_W.mean() * density, 0.9)
    parts = []
    for start in range(0, rows, 2000):
        active_NW = generator.random((min(2000, rows - start), width), dtype=np.float32) < rate_W
        row, latent = np.nonzero(active_NW)
        values = generator.gamma(2, 1, len(row)).astype(np.float32)
        parts.append(sp.csr_array((values, (row, latent)), shape=active_NW.shape))
    return sp.vstack(parts, format="csr")


def prepare(rows: int, width: int, density: float):
    import scipy.sparse as sp
    import tessera.matching.correlation  # noqa: F401 (imported before the clock starts)

    generator = np.random.default_rng(0)
    a = activations(rows, width, density, generator)
    order = generator.permutation(width)
    return a, sp.csr_array(a[:, order] + activations(rows, width, density / 3, generator)), order


def match(state) -> float:
    """Share of the matched latents that are matched to themselves."""
    from tessera.matching.correlation import correlate, one_to_one

    a, b, order = state
    partner_V, _ = one_to_one(correlate(a, b))
    matched = np.flatnonzero(partner_V >= 0)
    return float((order[partner_V[matched]] == matched).mean())


def similarity(state) -> float:
    from tessera.matching.correlation import svcca

    return svcca(*state[:2], seed=0)["svcca"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--width", type=int, default=16384)
    options = parser.parse_args()
    contestants = {
        f"{work.__name__}, {name}": (prepare, work, rows, options.width, density)
        for name, (rows, density) in ROWS.items()
        for work in (match, similarity)
    }
    found = side_by_side(options.rounds, contestants)
    print(table(found, {"wall_s": ".1f", "cpu_s": ".1f", "peak_mib": ".0f", "result": ".3f"}))


if __name__ == "__main__":
    main()
