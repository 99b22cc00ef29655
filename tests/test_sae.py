"""Prepared SAEs equal SAELens' encoders, refuse what they cannot encode, and keep heavy imports out of cheap jobs."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tessera
import tiny
import torch
from sae_lens import SAE
from tessera import sae as sae_module
from tessera.errors import TesseraError
from tessera.sae import load_encoder, prepare

WIDTH = 96
CPU = torch.device("cpu")
KINDS = [
    ("jumprelu", {"negative": False}),
    ("jumprelu", {"negative": True}),
    ("standard", {}),
    ("topk", {"k": 5}),
    ("topk", {"k": 80}),  # more than are positive
    ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    ("gated", {}),
    ("jumprelu", {"normalize_activations": "layer_norm"}),
    ("standard", {"normalize_activations": "constant_norm_rescale"}),
]


def residual(rows=40, seed=1):
    return torch.randn(rows, tiny.HIDDEN, generator=torch.Generator().manual_seed(seed))


def dense(sparse):
    """Sparse activations as [N, W]."""
    out = torch.zeros(len(sparse.counts_N), WIDTH)
    rows = np.repeat(np.arange(len(sparse.counts_N)), sparse.counts_N)
    out[torch.from_numpy(rows), torch.from_numpy(sparse.latents.astype(np.int64))] = torch.from_numpy(sparse.values)
    return out


@pytest.fixture(params=[True, False], ids=["b_dec", "no_b_dec"])
def both(request, kind, tmp_path):
    """The encoder of a random SAE and the SAE as SAELens loads it."""
    architecture, options = kind
    folder = tiny.save_sae(tmp_path / "sae", architecture, width=WIDTH, apply_b_dec_to_input=request.param, **options)
    config = prepare(folder, tmp_path / "sae.safetensors", width=WIDTH, layer=1)
    assert config["apply_b_dec_to_input"] is request.param
    return load_encoder(tmp_path / "sae.safetensors", CPU), SAE.load_from_disk(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_equals_saelens(both):
    encoder, sae = both
    x = residual()
    with torch.inference_mode():
        expected = sae.encode(x)
    sparse = encoder.encode(x)
    assert torch.equal(dense(sparse), expected)
    np.testing.assert_array_equal(sparse.counts_N, (expected != 0).sum(dim=1))
    assert (sparse.values > 0).all()
    assert sparse.latents.dtype == np.uint32
    assert (sparse.counts_N > 1).any()
    assert (sparse.counts_N < WIDTH).all()
    for latents in np.split(sparse.latents, np.cumsum(sparse.counts_N)[:-1]):
        assert (np.diff(latents.astype(np.int64)) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_second_batch_does_not_see_the_first(both):
    encoder, sae = both
    first = encoder.encode(residual(seed=1))
    kept = first.values.copy()
    second = encoder.encode(residual(rows=7, seed=2))
    np.testing.assert_array_equal(first.values, kept)
    with torch.inference_mode():
        assert torch.equal(dense(second), sae.encode(residual(rows=7, seed=2)))


@pytest.mark.parametrize("rows", [1, 7, 39, 40])
@pytest.mark.parametrize("kind", KINDS[1:4])
def test_chunks_lose_no_row(both, monkeypatch, tmp_path, rows):
    whole = both[0].encode(residual())
    monkeypatch.setitem(sae_module.CHUNK_BYTES, "cpu", 4 * WIDTH * rows)
    parts = load_encoder(tmp_path / "sae.safetensors", CPU).encode(residual())
    np.testing.assert_array_equal(parts.counts_N, whole.counts_N)
    np.testing.assert_array_equal(parts.latents, whole.latents)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [("topk", {})])
def test_token_without_active_latents(both):
    encoder, _ = both
    encoder.b_enc -= 1000
    sparse = encoder.encode(residual())
    assert sparse.counts_N.tolist() == [0] * 40
    assert len(sparse.values) == len(sparse.latents) == 0


def change(folder, **values):
    file = folder / "cfg.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normalize_activations": "expected_average_only_in"}, "normalised by 'expected_average_only_in'"),
        ({"reshape_activations": "hook_z"}, "attention heads"),
        ({"metadata": {"hook_name": "blocks.1.hook_resid_pre"}}, "reads blocks.1.hook_resid_pre, not the residual"),
        ({"metadata": {"hook_name": "blocks.2.hook_resid_post"}}, "reads blocks.2.hook_resid_post, not the residual"),
        ({"metadata": {"hook_name": "blocks.1.hook_mlp_out"}}, "reads blocks.1.hook_mlp_out, not the residual"),
        ({"d_in": 31}, "tensor b_dec is missing or of another size"),
        ({"architecture": "temporal"}, "'temporal' is not supported; allowed: jumprelu, standard, topk, gated"),
        ({"d_sae": WIDTH + 1}, f"has {WIDTH + 1} latents, the config asks for {WIDTH}"),
    ],
)
def test_sae_that_cannot_be_encoded_is_refused(tmp_path, values, message):
    folder = tiny.save_sae(tmp_path / "sae", "topk", width=WIDTH)
    change(folder, **values)
    with pytest.raises(TesseraError, match=message):
        prepare(folder, tmp_path / "out", width=WIDTH, layer=1)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


@pytest.mark.parametrize("kind", ["pickle", "torch", "cut", "missing"])
def test_weights_that_are_no_safetensors_are_refused(tmp_path, kind):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    file = folder / "sae_weights.safetensors"
    match kind:
        case "pickle":
            file.write_bytes(pickle.dumps({"W_enc": [1.0]}))
        case "torch":
            torch.save({"W_enc": torch.ones(2)}, file)
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "missing":
            file.unlink()
    with pytest.raises(TesseraError, match=r"sae_weights\.safetensors is not a readable safetensors file") as caught:
        prepare(folder, tmp_path / "out", width=WIDTH, layer=1)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_prepared_file_is_readable_by_all_and_reproducible(tmp_path):
    folder = tiny.save_sae(tmp_path / "sae", "jumprelu", width=WIDTH)
    for name in ("first", "second"):
        prepare(folder, tmp_path / name, width=WIDTH, layer=1)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "sae", "second"]


@pytest.mark.parametrize(
    ("modules", "banned"),
    [
        ("probe, pooling, data, tables, figures", {"torch", "transformers", "sae_lens"}),
        ("extract, sae, models", {"sae_lens", "transformer_lens"}),
    ],
)
def test_cheap_jobs_import_nothing_heavy(modules, banned):
    code = f"import sys; from tessera import {modules}; print(*sorted({banned!r} & sys.modules.keys()))"
    scripts = Path(tessera.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", None])
def test_hook_point_of_the_residual_stream_after_the_block(tmp_path, hook):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    change(folder, metadata={"hook_name": hook} if hook else {})
    prepare(folder, tmp_path / "out", width=WIDTH, layer=1)
