"""Training SAEs on cached activations: what is saved is what SAELens loads, and its quality is as measured."""

import ctypes
import gc
import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny  # noqa: F401 (one torch thread)
import torch
from sae_lens import SAE, SAETrainer
from tessera.base.errors import TesseraError
from tessera.saes import training
from tessera.saes.encoders import Scratch, load_encoder
from tessera.saes.preparing import prepare
from tessera.saes.training import ARCHITECTURES, _between, batches, train

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
FEWEST = {"standard": 200, "gated": 200}  # steps until as many latents fire as asked for, where STEPS do not do
EXPLAINED = {  # at least, after 400 steps; the penalty shrinks what a standard SAE activates
    "batchtopk": 0.85,
    "matryoshka_batchtopk": 0.85,
    "topk": 0.85,
    "jumprelu": 0.8,
    "standard": 0.4,
    "gated": 0.85,
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
    each = (tokens - sae.decode(acts)).square().sum(dim=1) / (tokens - tokens.mean(dim=0)).square().sum(dim=1)
    assert quality["variance_explained_per_token"] == pytest.approx(1 - each.mean().item(), abs=1e-4)
    assert quality["l0"] == pytest.approx((acts != 0).sum().item() / len(tokens))
    assert quality["dense"] == pytest.approx(((acts != 0).float().mean(dim=0) > 0.5).float().mean().item(), abs=1e-6)
    assert quality["dead"] == pytest.approx((acts == 0).all(dim=0).float().mean().item(), abs=1e-6)


@torch.inference_mode()
def test_as_many_latents_fire_as_asked_for(trained):
    folder, quality = trained
    assert quality["l0"] == pytest.approx(K, rel=0.2)
    sae, unseen = SAE.load_from_disk(folder), torch.from_numpy(make_tokens()[3400:3600])  # set on, not trained on
    assert (sae.encode(unseen) != 0).sum().item() / 200 == pytest.approx(K, rel=0.02)


def test_training_explains_more_variance(trained, cache, tmp_path):
    short = train(cache, tmp_path / "sae", **OPTIONS | {"steps": 1}).row(0, named=True)
    assert trained[1]["variance_explained"] > 0.7
    assert trained[1]["variance_explained"] > short["variance_explained"]


def test_same_seed_same_bytes(trained, cache, tmp_path):
    train(cache, tmp_path / "same", **OPTIONS)
    assert weights(tmp_path / "same") == weights(trained[0])
    train(cache, tmp_path / "other", **OPTIONS | {"seed": 1})
    assert weights(tmp_path / "other") != weights(trained[0])


@pytest.fixture(scope="module")
def frozen(cache, tmp_path_factory):
    """freeze → the saved SAE, and its quality as reported."""
    folder, found = tmp_path_factory.mktemp("frozen"), {}
    for freeze in training.FROZEN:
        quality = train(cache, folder / freeze, **OPTIONS, freeze=freeze)
        found[freeze] = SAE.load_from_disk(folder / freeze), quality.row(0, named=True)
    return found


@torch.inference_mode()
def test_all_frozen_is_random_and_as_sparse_as_asked_for(frozen, trained, cache, tmp_path):
    """The thresholds, one for all, and the mean token alone know the tokens: by hand, on those that set them."""
    sae, quality = frozen["all"]
    assert torch.equal(sae.W_enc, sae.W_dec.T) and sae.W_dec.norm(dim=1).tolist() == pytest.approx([1] * WIDTH)
    assert sae.threshold.unique().numel() == 1 and not sae.b_enc.any()
    tokens_ND = torch.from_numpy(make_tokens())
    spread = tokens_ND.std(dim=0).mean()
    assert (sae.b_dec - tokens_ND.mean(dim=0)).abs().max() < spread / 2  # of sampled tokens
    pre_NW = (tokens_ND - sae.b_dec) @ sae.W_dec.T
    fires_N = (pre_NW > sae.threshold).sum(dim=1).float()
    assert fires_N[3400:3600].mean().item() == pytest.approx(K, rel=0.02)
    assert fires_N[3600:].mean().item() == pytest.approx(quality["l0"], rel=1e-3)
    assert K / 1.5 < quality["l0"] < 1.5 * K
    assert quality["variance_explained"] < 0.5 < trained[1]["variance_explained"]
    np.save(tmp_path / "other.npy", 3 * make_tokens() + 5)
    train(tmp_path / "other.npy", tmp_path / "other", **OPTIONS, freeze="all")
    assert torch.allclose(SAE.load_from_disk(tmp_path / "other").W_dec, sae.W_dec, atol=1e-6)
    train(cache, tmp_path / "drawn", **OPTIONS | {"seed": 1000}, freeze="all")
    assert SAE.load_from_disk(tmp_path / "drawn").W_dec.mul(sae.W_dec).sum(dim=1).abs().median() < 0.5


@torch.inference_mode()
def test_what_is_frozen_stays_as_it_was_drawn_and_the_rest_is_learnt(frozen, cache, tmp_path):
    start = frozen["all"][0].W_dec
    decoder, encoder = frozen["decoder"][0], frozen["encoder"][0]
    assert torch.equal(decoder.W_dec, start)  # bit for bit, through all of training
    assert torch.allclose(torch.nn.functional.normalize(encoder.W_enc.T), start, atol=1e-6)
    for learnt in (decoder.W_enc.T, encoder.W_dec):
        cosine = torch.nn.functional.cosine_similarity(learnt, start)
        assert cosine.median() < 0.99
    qualities = {freeze: quality for freeze, (_, quality) in frozen.items()}
    assert all(K / 1.5 < quality["l0"] < 1.5 * K for quality in qualities.values())
    for freeze in ("decoder", "encoder"):
        assert qualities["all"]["variance_explained"] < qualities[freeze]["variance_explained"]


@pytest.mark.parametrize("freeze", ["decoder", "encoder"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_step_changes_a_bit_of_what_is_frozen(cache, tmp_path, monkeypatch, architecture, freeze):
    seen, fit = [], training.fit

    def watched(trainer, *arguments):
        weights = dict(trainer.sae.named_parameters())
        before = {name: weights[name].clone() for name in training.FROZEN["all"]}
        monkeypatch.setattr(trainer.sae, "fold_activation_norm_scaling_factor", lambda factor: None)
        fit(trainer, *arguments)
        seen.append({name: torch.equal(weights[name], before[name]) for name in before})
        raise Killed

    monkeypatch.setattr(training, "fit", watched)
    with pytest.raises(Killed):
        train(cache, tmp_path / "sae", **OPTIONS | {"architecture": architecture, "steps": 5}, freeze=freeze)
    assert seen == [{"W_dec": freeze == "decoder", "W_enc": freeze == "encoder"}]


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "matryoshka_batchtopk"])
def test_every_architecture_with_thresholds_or_k_can_be_frozen_whole(cache, tmp_path, architecture):
    quality = train(cache, tmp_path / "sae", **OPTIONS | {"architecture": architecture}, freeze="all")
    sae = SAE.load_from_disk(tmp_path / "sae")
    assert torch.equal(sae.W_enc, sae.W_dec.T)
    assert K / 1.5 < quality["l0"][0] < 1.5 * K


def test_held_out_tokens_do_not_reach_the_weights(trained, tmp_path):
    tokens = make_tokens()
    tokens[-TOKENS // 10 :] *= -7
    np.save(tmp_path / "changed.npy", tokens)
    quality = train(tmp_path / "changed.npy", tmp_path / "sae", **OPTIONS).row(0, named=True)
    assert weights(tmp_path / "sae") == weights(trained[0])
    assert quality["variance_explained"] < trained[1]["variance_explained"]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def long_trained(request, cache, tmp_path_factory):
    """An architecture, the folder of a trained SAE and its quality as reported."""
    out = tmp_path_factory.mktemp(request.param) / "sae"
    quality = train(cache, out, **OPTIONS | {"architecture": request.param, "steps": 400})
    return request.param, out, quality.row(0, named=True)


@torch.inference_mode()
def test_every_architecture_reaches_the_same_l0(long_trained):
    architecture, folder, quality = long_trained
    sae, tokens = SAE.load_from_disk(folder), torch.from_numpy(make_tokens()[-TOKENS // 10 :])
    assert quality["architecture"] == architecture
    assert sae.cfg.architecture() == ("jumprelu" if "batchtopk" in architecture else architecture)
    assert sae.cfg.normalize_activations == "none"
    assert sae.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(WIDTH), rtol=1e-5, atol=1e-5)
    acts = sae.encode(tokens)
    unexplained = (tokens - sae.decode(acts)).square().sum() / (tokens - tokens.mean(dim=0)).square().sum()
    assert K / 1.5 < (acts != 0).sum().item() / len(tokens) < K * 1.5
    assert 1 - unexplained.item() > EXPLAINED[architecture]
    assert quality["variance_explained"] == pytest.approx(1 - unexplained.item(), abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_same_seed_same_bytes(cache, tmp_path, architecture):
    recipe = OPTIONS | {"architecture": architecture, "steps": FEWEST.get(architecture, STEPS)}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        train(cache, tmp_path / name, **recipe | {"seed": seed})
    assert weights(tmp_path / "one") == weights(tmp_path / "same") != weights(tmp_path / "other")


@torch.inference_mode()
def test_every_architecture_encodes_as_saelens_does(long_trained, tmp_path):
    _, folder, _ = long_trained
    files = tmp_path / "sae.safetensors", tmp_path / "decoder.safetensors"
    config = prepare(folder, *files, width=WIDTH, layer=1, hook="resid_post")
    assert "saelens" not in config
    tokens = torch.from_numpy(make_tokens()[-TOKENS // 10 :])
    found = load_encoder(tmp_path / "sae.safetensors", Scratch(torch.device("cpu"))).encode(tokens)
    wanted = SAE.load_from_disk(folder).encode(tokens)
    rows, latents = wanted.nonzero(as_tuple=True)
    assert found.counts_N.tolist() == (wanted != 0).sum(dim=1).tolist()
    assert found.latents.tolist() == latents.tolist()
    torch.testing.assert_close(torch.from_numpy(found.values), wanted[rows, latents], rtol=1e-6, atol=1e-6)


STREAMS = [  # tokens, batch, tokens of a stretch
    (1000, 32, 10**6),
    (1000, 32, 100),
    (1000, 32, 32),
    (1003, 7, 50),
    (1023, 32, 128),  # its last stretch lacks a token
    (1025, 32, 128),  # its last stretch is less than a batch
    (64, 64, 64),
]


@pytest.fixture(params=STREAMS, ids=str)
def stream(request, monkeypatch):
    """Tokens that are their own numbers, batch size, tokens of a stretch, batches of an epoch."""
    count, size, rows = request.param
    monkeypatch.setattr(training, "BUFFER_BYTES", rows * 4 * 2)
    stretches = [min(rows, count - first) for first in range(0, count, rows)]
    numbers = np.arange(count, dtype=np.float32)
    return np.stack([numbers, -numbers], axis=1), size, rows, sum(length // size for length in stretches)


def test_an_epoch_sees_every_token_once(stream):
    tokens, size, rows, epoch = stream
    provider, orders = batches(tokens, size, seed=0), []
    for _ in range(3):
        seen = torch.cat(list(itertools.islice(provider, epoch)))
        assert seen.shape == (epoch * size, 2) and (seen[:, 0] == -seen[:, 1]).all()
        numbers = seen[:, 0].int().numpy()
        assert len(np.unique(numbers)) == len(numbers)
        missing = np.bincount(np.setdiff1d(np.arange(len(tokens)), numbers) // rows)
        assert (missing < size).all()
        assert not (np.diff(numbers[:size]) == 1).all()
        orders.append(numbers.tolist())
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != torch.cat(list(itertools.islice(batches(tokens, size, seed=1), epoch)))[:, 0].tolist()


def test_a_stream_goes_on_where_it_stopped(stream, tmp_path):
    tokens, size, _, epoch = stream
    np.save(tmp_path / "tokens.npy", tokens)
    whole = list(itertools.islice(batches(tokens, size, seed=0), 3 * epoch + 2))
    for start in range(3 * epoch):
        rest = itertools.islice(batches(np.load(tmp_path / "tokens.npy", mmap_mode="r"), size, seed=0, start=start), 2)
        assert all(torch.equal(*pair) for pair in zip(rest, whole[start : start + 2], strict=True)), start


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stream_holds_a_few_buffers_of_a_large_file(tmp_path, monkeypatch):
    def held():
        return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    monkeypatch.setattr(training, "BUFFER_BYTES", 8 * 2**20)
    tokens = np.lib.format.open_memmap(tmp_path / "tokens.npy", "w+", np.float32, (400 * 1024, 256))  # 400 MiB of holes
    gc.collect()  # what earlier tests left would be freed in between, and hide the buffers
    ctypes.CDLL(None).malloc_trim(0)
    before, most = held(), 0
    for number, batch in enumerate(itertools.islice(batches(tokens, 512, seed=0), 820)):  # 800 of them are an epoch
        assert batch.shape == (512, 256)
        if number % 4 == 0:
            most = max(most, held() - before)
    assert 2**20 < most < 3 * 8 * 2**20


class Killed(Exception):
    """The end of a training in the middle of it."""


@pytest.fixture
def run(cache, monkeypatch):
    """Train with a checkpoint after every step, killed at a step or not; the number of steps that were run."""
    step = SAETrainer.step

    def run(out, dies_at=None, cache=cache, seconds=0, **changes):
        steps = []

        def counted(trainer, batch):
            if trainer.n_training_steps == dies_at:
                raise Killed
            steps.append(trainer.n_training_steps)
            return step(trainer, batch)

        monkeypatch.setattr(SAETrainer, "step", counted)
        monkeypatch.setattr(training, "CHECKPOINT_SECONDS", seconds)
        if dies_at is None:
            train(cache, out, **OPTIONS | changes)
        else:
            with pytest.raises(Killed):
                train(cache, out, **OPTIONS | changes)
        return len(steps)

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_killed_training_goes_on_to_the_same_bytes(run, tmp_path, architecture):
    recipe = {"architecture": architecture, "steps": FEWEST.get(architecture, STEPS)}
    whole, parts = tmp_path / "whole/sae", tmp_path / "parts/sae"
    assert run(whole, **recipe, seconds=1000) == recipe["steps"]
    assert run(parts, dies_at=9, **recipe) == 9
    assert run(parts, dies_at=41, **recipe) == 41 - 9
    assert names(parts.parent) == ["checkpoint"]
    assert run(parts, **recipe) == recipe["steps"] - 41
    assert weights(parts) == weights(whole)
    assert names(parts.parent) == names(whole.parent) == ["sae"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 61}, {"hook": "mlp_out"}, {"freeze": "decoder"}, "tokens"])
def test_a_checkpoint_of_another_training_is_not_used(run, cache, tmp_path, change):
    if change == "tokens":
        np.save(tmp_path / "other.npy", make_tokens() * 1.01)
        change = {"cache": tmp_path / "other.npy"}
    steps = change.get("steps", STEPS)
    assert run(tmp_path / "whole/sae", **change) == steps
    run(tmp_path / "parts/sae", dies_at=20)
    assert run(tmp_path / "parts/sae", **change) == steps
    assert weights(tmp_path / "parts/sae") == weights(tmp_path / "whole/sae")


def test_killed_while_it_writes_a_checkpoint(run, cache, tmp_path):
    """By SIGKILL, which lets nothing clean up: the checkpoint before holds, and nothing is left in the end."""
    recipe = OPTIONS | {"architecture": "gated", "steps": 200}
    code = f"""
import os, signal, tiny
from pathlib import Path
from tessera.saes import training

saves, training.CHECKPOINT_SECONDS = [], 0

def save(*arguments, **options):
    saves.append(train_save(*arguments, **options))
    if len(saves) == 8:
        os.kill(os.getpid(), signal.SIGKILL)

train_save, training.save_file = training.save_file, save
training.train(Path({str(cache)!r}), Path({str(tmp_path / "sae")!r}), **{recipe})
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    part, checkpoint = names(tmp_path)
    assert part.startswith(".checkpoint.") and part.endswith(".part") and checkpoint == "checkpoint"
    assert run(tmp_path / "sae", seconds=1000, **recipe) == 200 - 7
    run(tmp_path / "whole/sae", seconds=1000, **recipe)
    assert weights(tmp_path / "sae") == weights(tmp_path / "whole/sae")
    assert names(tmp_path) == ["sae", "whole"]


def test_half_a_checkpoint_is_not_read(run, trained, tmp_path):
    """What a kill leaves of a checkpoint that is being removed."""
    run(tmp_path / "sae", dies_at=5)
    for file in names(tmp_path / "checkpoint"):
        run(tmp_path / "sae", dies_at=20)
        (tmp_path / "checkpoint" / file).unlink()
        assert run(tmp_path / "sae") == STEPS, file
        assert weights(tmp_path / "sae") == weights(trained[0])


def test_too_few_tokens_are_an_error(tmp_path):
    np.save(tmp_path / "few.npy", make_tokens()[:300])
    with pytest.raises(TesseraError, match="255 training tokens, fewer than batch_tokens: 256; add texts"):
        train(tmp_path / "few.npy", tmp_path / "sae", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["few.npy"]


def test_wider_than_there_are_tokens(tmp_path):
    np.save(tmp_path / "few.npy", make_tokens()[:304])
    quality = train(tmp_path / "few.npy", tmp_path / "sae", **OPTIONS | {"width": 512, "steps": 3})
    assert np.isfinite(quality["variance_explained"][0])


def test_a_threshold_stands_between_two_activations():
    """As many values exceed it as are wanted, to a thousandth, and rounding moves none of them across."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(100_000, generator=generator)
    tied = torch.cat([values, torch.full((40,), 0.5)])  # equal prefixes give equal activations
    for several, wanted in ((values, 32_000), (tied, 50_000), (values[:50], 20)):
        threshold = _between(several, wanted)
        assert (several > threshold).sum() == pytest.approx(wanted, rel=2e-3, abs=3)
        assert (several - threshold).abs().min() > 5e-6
    assert _between(values[:5], 5) < values[:5].min()
