"""Match the latents of two SAEs by the correlation of their activations, in blocks: nothing as large as both widths.

Rows are examples (pooled features) or tokens; a match needs no label. Memory is bounded by one block of correlations,
whatever the widths.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.sparse.linalg import LinearOperator, eigsh

BLOCK_BYTES = 64 * 2**20  # of the one dense block of correlations, float64
# Partners kept per latent, of either side: all where the wider SAE has at most 1,024 latents, 32 at least.
CANDIDATES, PAIRS = 32, 2**20
TIE = 1e-6  # two correlations this close tell the partners apart by nothing
JITTER = 1e-9  # among equals the lower latent id: the same for blocks of any size
NULL_QUANTILE, NULL_BINS, NULL_LEAST = 0.95, 20, 50  # bins of latents that are active on about as many rows
SVCCA_COMPONENTS, SVCCA_ROWS, SVCCA_MOST = 50, 20, 20_000  # components, rows for each at least, rows at most
SVD_TOLERANCE = 1e-9


@dataclass
class Moments:
    """Per latent over N rows, zeros included: mean, standard deviation, rows on which it is active.

    varies_W: latents that correlate with anything at all; one that never fires, or is constant, does not.
    """

    mean_W: np.ndarray
    sd_W: np.ndarray
    active_W: np.ndarray

    @classmethod
    def of(cls, acts_NW: sp.csr_array) -> "Moments":
        rows, width = acts_NW.shape
        latent, values = acts_NW.indices, acts_NW.data.astype(np.float64)
        active_W = np.bincount(latent[values != 0], minlength=width)
        mean_W = np.bincount(latent, values, minlength=width) / rows
        stored_W = np.bincount(latent, minlength=width)
        squares_W = np.bincount(latent, (values - mean_W[latent]) ** 2, minlength=width)
        variance_W = (squares_W + (rows - stored_W) * mean_W**2) / rows
        variance_W[variance_W <= 1e-12 * mean_W**2] = 0  # constant but for rounding
        return cls(mean_W, np.sqrt(variance_W), active_W)

    @property
    def varies_W(self) -> np.ndarray:
        return self.sd_W > 0


@dataclass
class Candidates:
    """The most correlated partners of each latent of A (width V) and of B (width W), positive correlations only.

    a, b, correlation: the pairs, each once. best_V, best_W: the partner of each latent with the highest correlation, −1
    for none; of_best_V, of_best_W: that correlation (0 for none); tied_V, tied_W: another partner is as good.
    """

    a: np.ndarray
    b: np.ndarray
    correlation: np.ndarray
    best_V: np.ndarray
    best_W: np.ndarray
    of_best_V: np.ndarray
    of_best_W: np.ndarray
    tied_V: np.ndarray
    tied_W: np.ndarray


def correlate(
    acts_NV: sp.csr_array, acts_NW: sp.csr_array, keep: int | None = None, block_bytes: int = BLOCK_BYTES
) -> Candidates:
    """Pearson correlation, zeros included, of every latent of A with every one of B; the `keep` best of each are kept.

    A block of latents of A at a time: at most `block_bytes` of correlations are dense at once, and as much again is
    needed to find the best among them.
    """
    (use_V, x_NV, offset_V), (use_W, y_NW, offset_W) = (_standardised(acts) for acts in (acts_NV, acts_NW))
    rows, V, W = acts_NV.shape[0], len(use_V), len(use_W)
    x_VN, block = sp.csr_array(x_NV.T), max(1, block_bytes // (8 * max(1, W)))
    keep = keep or max(CANDIDATES, PAIRS // max(V, W, 1))
    tilt_V, tilt_W = (JITTER * np.arange(size) / max(1, size) for size in (V, W))
    by_V = _Best.empty(V, min(keep, W))
    by_W = _Best.empty(W, min(keep, V))
    for start in range(0, V if W else 0, block):
        stop = min(start + block, V)
        product = x_VN[start:stop] @ y_NW
        r_VW = product.toarray()
        del product
        r_VW /= rows
        r_VW -= np.outer(offset_V[start:stop], offset_W)
        r_VW -= tilt_V[start:stop, None]
        r_VW -= tilt_W
        by_V.insert(slice(start, stop), r_VW, np.arange(W))
        by_W.insert(slice(0, W), r_VW.T, np.arange(start, stop))
    pairs = [by_V.pairs(), by_W.pairs()[[1, 0, 2]]]
    a, b, r = np.concatenate(pairs, axis=1)
    code, first = np.unique(a * max(1, W) + b, return_index=True)
    a, b = (code // max(1, W)).astype(np.int64), (code % max(1, W)).astype(np.int64)
    found_V, found_W = by_V.best(use_W, use_V, acts_NV.shape[1]), by_W.best(use_V, use_W, acts_NW.shape[1])
    return Candidates(
        use_V[a], use_W[b], np.clip(r[first], None, 1),
        found_V[0], found_W[0], found_V[1], found_W[1], found_V[2], found_W[2],
    )  # fmt: skip


def _standardised(acts_NW: sp.csr_array) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """The latents that vary, their activations over their standard deviation, and their mean over it."""
    moments = Moments.of(acts_NW)
    use_W = np.flatnonzero(moments.varies_W)
    kept = sp.csr_array(acts_NW[:, use_W], dtype=np.float64)
    kept.data /= moments.sd_W[use_W][kept.indices]
    return use_W, kept, moments.mean_W[use_W] / moments.sd_W[use_W]


@dataclass
class _Best:
    """Per latent its `keep` best partners so far, best first."""

    r_WK: np.ndarray
    partner_WK: np.ndarray

    @classmethod
    def empty(cls, width: int, keep: int) -> "_Best":
        return cls(np.full((width, keep), -np.inf), np.zeros((width, keep), dtype=np.int64))

    def insert(self, latents: slice, r_WB: np.ndarray, partners_B: np.ndarray) -> None:
        keep = self.r_WK.shape[1]
        if r_WB.shape[1] > keep:
            chosen = np.argpartition(r_WB, -keep, axis=1)[:, -keep:]
            r_WB, partner_WB = np.take_along_axis(r_WB, chosen, axis=1), partners_B[chosen]
        else:
            partner_WB = np.broadcast_to(partners_B, r_WB.shape)
        r = np.concatenate([self.r_WK[latents], r_WB], axis=1)
        partner = np.concatenate([self.partner_WK[latents], partner_WB], axis=1)
        order = np.argsort(-r, axis=1, kind="stable")[:, :keep]
        self.r_WK[latents] = np.take_along_axis(r, order, axis=1)
        self.partner_WK[latents] = np.take_along_axis(partner, order, axis=1)

    def pairs(self) -> np.ndarray:
        """[3, pairs]: latent, partner, correlation where positive."""
        latent, place = np.nonzero(self.r_WK > TIE)
        return np.vstack([latent, self.partner_WK[latent, place], self.r_WK[latent, place]])

    def best(self, partners: np.ndarray, latents: np.ndarray, width: int) -> tuple:
        """Per latent of the whole SAE: best partner, its correlation, is another as good?"""
        partner_W, r_W, tied_W = np.full(width, -1), np.zeros(width), np.zeros(width, dtype=bool)
        if self.r_WK.size:
            there = self.r_WK[:, 0] > TIE
            partner_W[latents[there]] = partners[self.partner_WK[there, 0]]
            r_W[latents[there]] = np.minimum(self.r_WK[there, 0], 1)
            if self.r_WK.shape[1] > 1:
                tied_W[latents[there]] = self.r_WK[there, 1] >= self.r_WK[there, 0] - TIE
        return partner_W, r_W, tied_W


def one_to_one(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """The one-to-one match among the candidates with the largest sum of correlations: partner_V (−1 for none), r_V.

    Exact where every pair is a candidate. A latent of A may stay alone (it then counts 0), so there always is a match.
    """
    V = len(candidates.best_V)
    alive, row = np.unique(candidates.a, return_inverse=True)
    partner_V, r_V = np.full(V, -1), np.zeros(V)
    if not len(alive):
        return partner_V, r_V
    W = len(candidates.best_W)
    cost = np.concatenate([2 - candidates.correlation, np.full(len(alive), 2.0)])  # the solver takes 0 for no edge
    place = np.append(row, np.arange(len(alive))), np.append(candidates.b, W + np.arange(len(alive)))
    graph = sp.csr_array((cost, place), shape=(len(alive), W + len(alive)))
    rows, columns = min_weight_full_bipartite_matching(graph)
    matched = columns < W
    partner_V[alive[rows[matched]]] = columns[matched]
    r_V[alive[rows[matched]]] = 2 - graph[rows[matched], columns[matched]]
    return partner_V, r_V


def inverse(partner_V: np.ndarray, r_V: np.ndarray, W: int) -> tuple[np.ndarray, np.ndarray]:
    """A one-to-one match seen from B: partner_W, r_W."""
    partner_W, r_W, matched = np.full(W, -1), np.zeros(W), np.flatnonzero(partner_V >= 0)
    partner_W[partner_V[matched]], r_W[partner_V[matched]] = matched, r_V[matched]
    return partner_W, r_W


def above_null(r_W: np.ndarray, null_PW: np.ndarray, active_W: np.ndarray) -> np.ndarray:
    """Does a latent's correlation exceed the 95th percentile of what P shuffles give latents active on as many rows?

    Rare latents correlate by chance far more than frequent ones: one percentile for all would be wrong for both.
    """
    above_W, alive = np.zeros(len(r_W), dtype=bool), np.flatnonzero(active_W > 0)
    if not len(alive):
        return above_W
    by_count = alive[np.argsort(active_W[alive], kind="stable")]
    for bin_ in np.array_split(by_count, max(1, min(NULL_BINS, len(alive) // NULL_LEAST))):
        above_W[bin_] = r_W[bin_] > np.quantile(null_PW[:, bin_], NULL_QUANTILE)
    return above_W


def svcca(acts_NV: sp.csr_array, acts_NW: sp.csr_array, seed: int) -> dict[str, float]:
    """Mean canonical correlation of the leading singular directions of two centred activation matrices, and by chance.

    Raghu et al. 2017 (arXiv 1706.05806), with a fixed number of components, far below the number of rows. `svcca_null`
    has the rows of one side shuffled: chance alone gives about the root of components / rows. Of very many rows, every
    so manyth is taken.
    """
    acts_NV, acts_NW = (acts[:: -(-acts.shape[0] // SVCCA_MOST)] for acts in (acts_NV, acts_NW))
    rows = acts_NV.shape[0]
    components = min(SVCCA_COMPONENTS, rows // SVCCA_ROWS, *(min(acts.shape) - 1 for acts in (acts_NV, acts_NW)))
    if components < 1:
        return {"svcca": np.nan, "svcca_null": np.nan, "svcca_components": 0}
    u_NK, v_NK = (_leading(acts, components, seed) for acts in (acts_NV, acts_NW))
    shuffled_NK = v_NK[np.random.default_rng(seed).permutation(rows)]
    found = [np.linalg.svd(u_NK.T @ other, compute_uv=False).clip(0, 1).mean() for other in (v_NK, shuffled_NK)]
    return {"svcca": float(found[0]), "svcca_null": float(found[1]), "svcca_components": components}


def _leading(acts_NW: sp.csr_array, components: int, seed: int) -> np.ndarray:
    """Orthonormal basis [N, K] of the leading left singular directions of the centred matrix, never made dense.

    By Lanczos iteration until it converges, started among the rows, so that the order of the latents does not matter. A
    fixed number of power iterations is off wherever singular values fall slowly: 8 of them by .01 to .1.
    """
    acts_NW = sp.csr_array(acts_NW, dtype=np.float64)
    mean_W, acts_WN, rows = acts_NW.mean(axis=0), sp.csr_array(acts_NW.T), acts_NW.shape[0]

    def gram(value_N: np.ndarray) -> np.ndarray:
        onto_W = acts_WN @ value_N.ravel() - mean_W * value_N.sum()
        return acts_NW @ onto_W - mean_W @ onto_W

    start_N = np.random.default_rng(seed).standard_normal(rows)
    operator = LinearOperator((rows, rows), matvec=gram, dtype=np.float64)
    return eigsh(operator, components, v0=start_N, tol=SVD_TOLERANCE)[1]
