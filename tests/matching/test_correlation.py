"""Matching: planted permutations come back, chance is told from a match, and memory does not grow with both widths."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from tessera.matching.correlation import Moments, above_null, correlate, inverse, one_to_one, svcca


def sparse(rows, width, seed=0, density=0.2):
    """Random activations: each latent has a rate and a size of its own."""
    generator = np.random.default_rng(seed)
    rate_W = density * np.exp(generator.normal(0, 0.5, width))
    dense_NW = generator.gamma(2, 1, (rows, width)) * (generator.random((rows, width)) < rate_W)
    return sp.csr_array(dense_NW.astype(np.float32))


def disguised(acts_NW, seed=1):
    """The same latents in another order, each rescaled; and the permutation: column j is latent order[j]."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(acts_NW.shape[1])
    scales = np.exp(generator.normal(0, 1, len(order))).astype(np.float32)
    return sp.csr_array(acts_NW[:, order].multiply(scales), dtype=np.float32), order


def related(rows, width, seed=0):
    a = sparse(rows, width, seed)
    return a, sp.csr_array(disguised(a, seed)[0] + sparse(rows, width, seed + 1, 0.1))


def test_moments_are_numpys():
    acts = sparse(200, 30)
    moments = Moments.of(acts)
    np.testing.assert_allclose(moments.mean_W, acts.toarray().mean(axis=0, dtype=float), rtol=1e-9)
    np.testing.assert_allclose(moments.sd_W, acts.toarray().std(axis=0, dtype=float), rtol=1e-9)
    assert (moments.active_W == (acts.toarray() > 0).sum(axis=0)).all()


def test_correlations_are_numpys():
    a, b = related(300, 25)
    found = correlate(a, b, keep=25)
    whole = np.corrcoef(a.toarray().T, b.toarray().T)[:25, 25:]
    np.testing.assert_allclose(found.correlation, whole[found.a, found.b], atol=1e-6)
    assert len(found.a) == (whole > 1e-6).sum()
    assert (found.best_V == whole.argmax(axis=1)).all() and (found.best_W == whole.argmax(axis=0)).all()


def test_the_match_is_the_best_assignment():
    for seed in range(5):
        a, b = related(60, 30, seed)
        partner_V, r_V = one_to_one(correlate(a, b[:, :20], keep=30))
        with np.errstate(invalid="ignore"):  # of a latent that never fires
            whole = np.corrcoef(a.toarray().T, b[:, :20].toarray().T)[:30, 30:]
        whole = np.nan_to_num(whole).clip(min=0)
        rows, columns = linear_sum_assignment(-whole)
        assert r_V.sum() == pytest.approx(whole[rows, columns].sum(), abs=1e-6)
        matched = partner_V >= 0
        assert len(set(partner_V[matched])) == matched.sum() <= 20
        np.testing.assert_allclose(r_V[matched], whole[matched, partner_V[matched]], atol=1e-6)
        back = inverse(partner_V, r_V, 20)
        assert (partner_V[back[0][back[0] >= 0]] == np.flatnonzero(back[0] >= 0)).all()


def test_the_match_of_random_latents_is_the_best_too():
    """They correlate with everything a little, so that their best partners are the same few."""
    generator = np.random.default_rng(0)
    texts_ND = generator.standard_normal((800, 24)) + 1
    a, b = (
        sp.csr_array(np.maximum(texts_ND @ generator.standard_normal((24, 300)) - 4, 0).astype(np.float32))
        for _ in range(2)
    )
    whole = np.nan_to_num(np.corrcoef(a.toarray().T, b.toarray().T)[:300, 300:]).clip(min=0)
    best = whole[linear_sum_assignment(-whole)].sum()
    assert one_to_one(correlate(a, b))[1].sum() == pytest.approx(best, rel=1e-6)
    assert one_to_one(correlate(a, b, keep=3))[1].sum() < best * (1 - 1e-4)


@pytest.mark.parametrize("keep", [1, 4, 64])
def test_a_planted_permutation_is_recovered(keep):
    a = sparse(400, 120, density=0.03)
    b, order = disguised(a)
    found = correlate(a, b, keep=keep)
    there = Moments.of(a).varies_W
    partner_V, r_V = one_to_one(found)
    assert (order[partner_V[there]] == np.flatnonzero(there)).all()
    assert (order[found.best_V[there]] == np.flatnonzero(there)).all()
    np.testing.assert_allclose(r_V[there], 1, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 5000, 50_000])
def test_blocks_of_any_size_give_the_same(block_bytes):
    a, b = related(80, 70)
    a, b = sp.hstack([a, a[:, :20]], format="csr"), sp.hstack([b, b[:, :30]], format="csr")  # and equal latents
    whole, parts = correlate(a, b, keep=5), correlate(a, b, keep=5, block_bytes=block_bytes)
    for name, values in vars(whole).items():
        assert (values == getattr(parts, name)).all(), name
    assert whole.tied_V.any() and not whole.tied_V.all()


def test_latents_that_never_vary_are_not_matched():
    a, b = related(100, 20)
    a, b = a.toarray(), b.toarray()
    a[:, [3, 5]], b[:, 0] = 0, 0
    a[:, 7] = 2.0  # always on, to the same amount
    found = correlate(sp.csr_array(a), sp.csr_array(b))
    partner_V, _ = one_to_one(found)
    assert (found.best_V[[3, 5, 7]] == -1).all() and found.best_W[0] == -1
    assert (partner_V[[3, 5, 7]] == -1).all() and 0 not in partner_V


def test_nothing_fires_at_all():
    a, b = sparse(50, 10), sp.csr_array((50, 8), dtype=np.float32)
    partner_V, r_V = one_to_one(correlate(a, b))
    assert (partner_V == -1).all() and (r_V == 0).all()
    assert svcca(a[:, []], b, 0)["svcca_components"] == 0


def test_few_exceed_the_null_by_chance_whether_rare_or_frequent():
    generator = np.random.default_rng(0)
    rate_W = np.exp(generator.uniform(np.log(0.003), np.log(0.5), 600))
    a, b = (sp.csr_array((generator.random((500, 600)) < rate_W).astype(np.float32)) for _ in range(2))
    found, active = correlate(a, b), Moments.of(a).active_W
    null = np.array([correlate(a, b[generator.permutation(500)]).of_best_V for _ in range(3)])
    above = above_null(found.of_best_V, null, active)
    assert above.mean() < 0.1
    rare = active < np.median(active)
    assert above[rare & (active > 0)].mean() < 0.12 and above[~rare].mean() < 0.12
    one_for_all = found.of_best_V > np.quantile(null, 0.95)
    assert one_for_all[rare].mean() > 5 * one_for_all[~rare].mean()  # what bins of like latents prevent


def test_svcca():
    a, b = sparse(2000, 80), sparse(2000, 70, seed=1)
    disguise, _ = disguised(a)
    scales = Moments.of(disguise).sd_W
    order = np.argsort(scales)
    same = svcca(a, a[:, order], 0)
    assert same["svcca"] == pytest.approx(1, abs=1e-6) and same["svcca_components"] == 50
    other = svcca(a, b, 0)
    assert other["svcca"] == pytest.approx(other["svcca_null"], abs=0.02)
    assert same["svcca_null"] == pytest.approx(other["svcca_null"], abs=0.02)
    centred = [acts.toarray() - acts.toarray().mean(axis=0) for acts in (a, b)]
    u, v = (np.linalg.svd(acts, full_matrices=False)[0][:, :50] for acts in centred)
    assert other["svcca"] == pytest.approx(np.linalg.svd(u.T @ v, compute_uv=False).mean(), abs=1e-6)


def test_svcca_does_not_depend_on_the_seed():
    """Singular values that fall slowly: where a fixed number of iterations had not converged."""
    a, b = related(1500, 200)
    found = [svcca(a, b, seed)["svcca"] for seed in range(4)]
    assert max(found) - min(found) < 1e-6


def test_memory_is_a_few_blocks_and_no_product_of_the_widths():
    width, block = 6000, 2**21
    generator = np.random.default_rng(0)
    a, b = (sp.random_array((300, width), density=0.01, format="csr", rng=generator) for _ in range(2))
    tracemalloc.start()
    correlate(a, b, keep=4, block_bytes=block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * block < width * width  # of 144 MB in float32, 288 in float64
