"""Training SAEs on cached activations: what is saved is what SAELens loads, and its quality is as measured."""

import numpy as np
import pytest
import tiny  # noqa: F401 (one torch thread)
import torch
from sae_lens import SAE
from tessera.errors import TesseraError
from tessera.train import train

TOKENS, DIRECTIONS, WIDTH, K = 4000, 32, 64, 4
STEPS = 60
OPTIONS = {
    "layer": 1,
    "hook": "resid_post",
    "architecture": "batchtopk",
    "width": WIDTH,
    "k": K,
    "steps": STEPS,
    "batch_tokens": 256,
    "learning_rate": 3e-3,
    "seed": 0,
}


def make_tokens():
    """Sparse combinations of a few directions, off centre."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(DIRECTIONS, 16))
    weights = generator.random((TOKENS, DIRECTIONS)) * (generator.random((TOKENS, DIRECTIONS)) < 0.08)
    return (weights @ directions + 0.01 * generator.normal(size=(TOKENS, 16)) + 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "layer=1.npy"
    np.save(path, make_tokens())
    return path


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    """The folder of a trained SAE, and its quality as reported."""
    out = tmp_path_factory.mktemp("trained") / "sae"
    return out, train(cache, out, **OPTIONS).row(0, named=True)


def weights(folder):
    return (folder / "sae_weights.safetensors").read_bytes()


def test_saved_sae_is_an_ordinary_jumprelu(trained):
    folder, _ = trained
    sae = SAE.load_from_disk(folder)
    assert sae.cfg.architecture() == "jumprelu"
    assert sae.cfg.normalize_activations == "none"
    assert (sae.cfg.d_in, sae.cfg.d_sae) == (16, WIDTH)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(WIDTH), rtol=1e-5, atol=1e-5)
    assert (sae.threshold >= 0).all()
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
    assert [path.name for path in folder.parent.iterdir()] == ["sae"]


@torch.inference_mode()
def test_reported_quality_is_that_of_the_saved_sae_on_held_out_tokens(trained):
    folder, quality = trained
    sae, tokens = SAE.load_from_disk(folder), torch.from_numpy(make_tokens()[-TOKENS // 10 :])
    acts = sae.encode(tokens)
    unexplained = (tokens - sae.decode(acts)).square().sum() / (tokens - tokens.mean(dim=0)).square().sum()
    assert quality["held_out_tokens"] == len(tokens) == 400
    assert quality["variance_explained"] == pytest.approx(1 - unexplained.item(), abs=1e-4)
    assert quality["l0"] == pytest.approx((acts != 0).sum().item() / len(tokens))
    assert quality["dead"] == pytest.approx((acts == 0).all(dim=0).float().mean().item(), abs=1e-6)


@torch.inference_mode()
def test_as_many_latents_fire_as_asked_for(trained):
    folder, quality = trained
    assert quality["l0"] == pytest.approx(K, rel=0.2)
    acts = SAE.load_from_disk(folder).encode(torch.from_numpy(make_tokens()[:3600]))
    assert (acts != 0).sum().item() / 3600 == pytest.approx(K, rel=0.05)


def test_training_explains_more_variance(trained, cache, tmp_path):
    short = train(cache, tmp_path / "sae", **OPTIONS | {"steps": 1}).row(0, named=True)
    assert trained[1]["variance_explained"] > 0.7
    assert trained[1]["variance_explained"] > short["variance_explained"]


def test_same_seed_same_bytes(trained, cache, tmp_path):
    train(cache, tmp_path / "same", **OPTIONS)
    assert weights(tmp_path / "same") == weights(trained[0])
    train(cache, tmp_path / "other", **OPTIONS | {"seed": 1})
    assert weights(tmp_path / "other") != weights(trained[0])


def test_held_out_tokens_do_not_reach_the_weights(trained, tmp_path):
    tokens = make_tokens()
    tokens[-TOKENS // 10 :] *= -7
    np.save(tmp_path / "changed.npy", tokens)
    quality = train(tmp_path / "changed.npy", tmp_path / "sae", **OPTIONS).row(0, named=True)
    assert weights(tmp_path / "sae") == weights(trained[0])
    assert quality["variance_explained"] < trained[1]["variance_explained"]


def test_too_few_tokens_are_an_error(tmp_path):
    np.save(tmp_path / "few.npy", make_tokens()[:284])
    with pytest.raises(TesseraError, match="255 training tokens, fewer than batch_tokens: 256; add texts"):
        train(tmp_path / "few.npy", tmp_path / "sae", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["few.npy"]


def test_wider_than_there_are_tokens(tmp_path):
    np.save(tmp_path / "few.npy", make_tokens()[:300])
    quality = train(tmp_path / "few.npy", tmp_path / "sae", **OPTIONS | {"width": 512, "steps": 3})
    assert np.isfinite(quality["variance_explained"][0])
