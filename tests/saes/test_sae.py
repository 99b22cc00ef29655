"""Prepared SAEs equal SAELens' encoders, and refuse what they cannot encode."""

import pickle

import numpy as np
import pytest
import tiny
import torch
from sae_lens import SAE
from tessera.base.errors import TesseraError
from tessera.saes import encoders, saelens
from tessera.saes.encoders import FEW, Scratch, load_encoder
from tessera.saes.preparing import prepare

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
    config = prepare(folder, tmp_path / "sae.safetensors", tmp_path / "decoder", width=WIDTH, layer=1)
    assert config["apply_b_dec_to_input"] is request.param
    return load_encoder(tmp_path / "sae.safetensors", Scratch(CPU)), SAE.load_from_disk(folder)


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
    rows = FEW + 1  # fewer are padded, and rounded as many are; SAELens pads none
    second = encoder.encode(residual(rows, seed=2))
    np.testing.assert_array_equal(first.values, kept)
    with torch.inference_mode():
        assert torch.equal(dense(second), sae.encode(residual(rows, seed=2)))


@pytest.mark.parametrize("rows", [1, 7, 39, 40])
@pytest.mark.parametrize("kind", KINDS[1:4])
def test_chunks_lose_no_row(both, monkeypatch, tmp_path, rows):
    whole = both[0].encode(residual())
    monkeypatch.setitem(encoders.CHUNK_BYTES, "cpu", 4 * WIDTH * rows)
    parts = load_encoder(tmp_path / "sae.safetensors", Scratch(CPU)).encode(residual())
    np.testing.assert_array_equal(parts.counts_N, whole.counts_N)
    np.testing.assert_array_equal(parts.latents, whole.latents)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("matmul", [torch.float32, torch.bfloat16])
def test_encoders_share_their_buffers_in_turn(tmp_path, matmul):
    widths, shared = {"jumprelu": 64, "topk": 96, "gated": 80}, Scratch(CPU, matmul)
    for kind, width in widths.items():
        folder = tiny.save_sae(tmp_path / kind, kind, width=width)
        prepare(folder, tmp_path / f"{kind}.out", tmp_path / "decoder", width=width, layer=1)
    encoders = [load_encoder(tmp_path / f"{kind}.out", shared) for kind in widths]
    for kind, found in zip(widths, [encoder.encode(residual()) for encoder in encoders], strict=True):
        expected = load_encoder(tmp_path / f"{kind}.out", Scratch(CPU, matmul)).encode(residual())
        assert torch.equal(dense(found), dense(expected))


@pytest.mark.parametrize("kind", [("topk", {})])
def test_token_without_active_latents(both):
    encoder, _ = both
    encoder.b_enc -= 1000
    sparse = encoder.encode(residual())
    assert sparse.counts_N.tolist() == [0] * 40
    assert len(sparse.values) == len(sparse.latents) == 0


def refused(folder, message, **asked):
    with pytest.raises(TesseraError, match=message) as caught:
        prepare(folder, folder.parent / "out", folder.parent / "decoder", width=WIDTH, layer=1, **asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normalize_activations": "expected_average_only_in"}, "normalised by 'expected_average_only_in'"),
        (
            {"metadata": {"hook_name": "blocks.1.hook_resid_mid"}},
            r"reads blocks\.1\.hook_resid_mid; supported are hook_",
        ),
        ({"metadata": {"hook_name": "encoder.1"}}, r"reads encoder\.1; supported are hook_resid_pre, hook_resid_post"),
        (
            {"metadata": {"hook_name": "blocks.2.hook_resid_post"}},
            r"reads blocks\.2\.hook_resid_post, the config asks for layer 1",
        ),
        (
            {"metadata": {"model_from_pretrained_kwargs": {"fold_ln": True}}},
            "trained on a model changed by fold_ln; not supported",
        ),
        ({"d_in": 31}, "tensor W_enc is missing or of another size"),
        ({"d_sae": WIDTH + 1}, f"has {WIDTH + 1} latents, the config asks for {WIDTH}"),
    ],
)
def test_sae_that_cannot_be_encoded_is_refused(tmp_path, values, message):
    folder = tiny.save_sae(tmp_path / "sae", "topk", width=WIDTH)
    tiny.change_sae(folder, **values)
    refused(folder, message)
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
        prepare(folder, tmp_path / "out", tmp_path / "decoder", width=WIDTH, layer=1)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_prepared_file_is_readable_by_all_and_reproducible(tmp_path):
    folder = tiny.save_sae(tmp_path / "sae", "jumprelu", width=WIDTH)
    for name in ("first", "second"):
        files = tmp_path / name / "encoder", tmp_path / name / "decoder"
        prepare(folder, *files, width=WIDTH, layer=1)
        assert [file.stat().st_mode & 0o777 for file in files] == [0o644] * 2
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["decoder", "encoder"]
    for name in ("encoder", "decoder"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


# What an SAE says of itself: hook point and model


@pytest.mark.parametrize(
    ("metadata", "hook"),
    [
        ({"hook_name": "blocks.1.hook_resid_pre"}, "resid_pre"),
        ({"hook_name": "blocks.1.hook_resid_post"}, "resid_post"),
        ({"hook_name": "blocks.1.hook_attn_out"}, "attn_out"),
        ({"hook_name": "blocks.1.attn.hook_z"}, "z"),
        ({"hook_name": "blocks.1.hook_mlp_out"}, "mlp_out"),
        ({"hook_name": "blocks.1.mlp.hook_in"}, "mlp_in"),
        ({"hook_name": "blocks.1.ln2.hook_normalized"}, "mlp_in_normalized"),
        ({"hf_hook_name": "model.layers.1.output"}, "resid_post"),
        ({"hf_hook_name": "model.layers.1.self_attn.o_proj.input"}, "z"),
        ({"hf_hook_name": "model.layers.1.post_feedforward_layernorm.output"}, "mlp_out"),
        (
            {
                "hook_name": "blocks.1.hook_mlp_in",
                "hf_hook_name": "model.layers.1.pre_feedforward_layernorm.output",
            },
            "mlp_in",
        ),
        ({"hook_name": "blocks.1.hook_resid_pre", "hf_hook_name": "model.layers.1.output"}, "resid_post"),
        ({"hook_name": "blocks.1.hook_resid_post", "hf_hook_name": "model.layers.1"}, "resid_post"),
        ({"hook_name": None}, "resid_post"),
        ({}, "resid_post"),
    ],
)
def test_hook_point_of_the_metadata(tmp_path, metadata, hook):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    tiny.change_sae(folder, metadata=metadata)
    assert prepare(folder, tmp_path / "out", tmp_path / "decoder", width=WIDTH, layer=1)["hook"] == hook
    assert load_encoder(tmp_path / "out", Scratch(CPU)).config["hook"] == hook


def test_hook_point_of_the_config(tmp_path):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    files = tmp_path / "out", tmp_path / "decoder"
    assert prepare(folder, *files, width=WIDTH, layer=1, hook="mlp_out")["hook"] == "mlp_out"
    tiny.change_sae(folder, metadata={"hook_name": "blocks.1.hook_attn_out"})
    assert prepare(folder, *files, width=WIDTH, layer=1, hook="attn_out")["hook"] == "attn_out"
    (tmp_path / "out").unlink()
    refused(folder, r"reads blocks\.1\.hook_attn_out, the config says hook: mlp_out", hook="mlp_out")
    assert not (tmp_path / "out").exists()


def unasked(name, other):
    raise AssertionError("two names with the same last part need no list")


@pytest.mark.parametrize(
    ("trained_on", "model", "same_model"),
    [
        ("gemma-2-2b", "google/gemma-2-2b", unasked),
        ("google/Gemma-2-2B", "unsloth/gemma-2-2b", None),
        ("gpt2-small", "openai-community/gpt2", saelens.same_model),
        ("EleutherAI/pythia-70m-deduped", "pythia-70m-deduped", unasked),
        ("gemma-2-2b", None, unasked),
        (None, "google/gemma-2-2b", unasked),
    ],
)
def test_one_model_by_two_names(tmp_path, trained_on, model, same_model):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    tiny.change_sae(folder, metadata={"model_name": trained_on})
    prepare(folder, tmp_path / "out", tmp_path / "decoder", width=WIDTH, layer=1, model=model, same_model=same_model)


@pytest.mark.parametrize(
    ("trained_on", "model", "same_model"),
    [
        ("gpt2-small", "openai-community/gpt2", None),
        ("gpt2-small", "openai-community/gpt2-medium", saelens.same_model),
        ("made-up", "made/up", saelens.same_model),
        ("gemma-2-2b", "google/gemma-2-2b-it", saelens.same_model),
    ],
)
def test_sae_of_another_model_is_refused(tmp_path, trained_on, model, same_model):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    tiny.change_sae(folder, metadata={"model_name": trained_on})
    message = f"trained on {trained_on}, the config's model is {model}; .* trained_on: {trained_on} "
    refused(folder, message, model=model, same_model=same_model)


# Architectures that SAELens encodes

LENGTHS = np.array([25, 1, 14])  # of examples, in tokens


def prepared(folder, **asked):
    out = folder.parent / "sae.safetensors"
    assert "saelens" in prepare(folder, out, folder.parent / "decoder", width=WIDTH, layer=1, **asked)
    return load_encoder(out, Scratch(CPU)), SAE.load_from_disk(folder)


@torch.inference_mode()
def expected_of(sae, x):
    """SAELens' activations [N, W]; a temporal SAE reads each example as a sequence."""
    if sae.cfg.architecture() == "temporal":
        return torch.cat([sae.encode(part[None])[0] for part in x.split(LENGTHS.tolist())])
    return sae.encode(x)


@pytest.mark.parametrize("architecture", tiny.RARE)
def test_rare_architecture_equals_saelens(tmp_path, architecture):
    encoder, sae = prepared(tiny.save_rare_sae(tmp_path / "sae", architecture, width=WIDTH))
    expected = expected_of(sae, residual())
    sparse = encoder.encode(residual(), LENGTHS)
    assert (encoder.d_in, encoder.width) == (tiny.HIDDEN, WIDTH)
    assert torch.equal(dense(sparse), expected)
    np.testing.assert_array_equal(sparse.counts_N, (expected != 0).sum(dim=1))
    assert 1 < sparse.counts_N.max() < WIDTH
    assert (sparse.latents.dtype, sparse.values.dtype) == (np.uint32, np.float32)
    assert (sparse.values < 0).any() == (architecture == "abstopk")


@pytest.mark.parametrize("architecture", tiny.RARE)
def test_rare_architecture_in_chunks(tmp_path, monkeypatch, architecture):
    monkeypatch.setitem(encoders.CHUNK_BYTES, "cpu", 4 * WIDTH * 7)
    encoder, sae = prepared(tiny.save_rare_sae(tmp_path / "sae", architecture, width=WIDTH))
    found = dense(encoder.encode(residual(), LENGTHS))
    torch.testing.assert_close(found, expected_of(sae, residual()), rtol=1e-4, atol=1e-5)


def test_temporal_sae_does_not_look_across_examples(tmp_path):
    encoder, _ = prepared(tiny.save_rare_sae(tmp_path / "sae", "temporal", width=WIDTH))
    apart = dense(encoder.encode(residual(), LENGTHS))
    together = dense(encoder.encode(residual(), np.array([40])))
    torch.testing.assert_close(together[:25], apart[:25])
    assert not torch.allclose(together[26:], apart[26:])


def test_rare_architecture_with_centred_weights_is_refused(tmp_path):
    folder = tiny.save_rare_sae(tmp_path / "sae", "abstopk", width=WIDTH)
    tiny.change_sae(folder, metadata={"model_from_pretrained_kwargs": {"center_writing_weights": True}})
    refused(folder, "a abstopk SAE of a model with centred weights is not supported")


@pytest.mark.parametrize("architecture", ["jumprelu", "topk", "abstopk"])
def test_heads_come_side_by_side(tmp_path, architecture):
    save = tiny.save_rare_sae if architecture in tiny.RARE else tiny.save_sae
    folder = save(tmp_path / "sae", architecture, width=WIDTH)
    tiny.change_sae(folder, reshape_activations="hook_z", metadata={"hook_name": "blocks.1.attn.hook_z"})
    assert prepare(folder, tmp_path / "out", tmp_path / "decoder", width=WIDTH, layer=1)["hook"] == "z"
    with torch.inference_mode():
        expected = SAE.load_from_disk(folder).encode(residual().view(40, 4, tiny.HIDDEN // 4))
    assert torch.equal(dense(load_encoder(tmp_path / "out", Scratch(CPU)).encode(residual())), expected)


# The product in bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_product_is_close(both, kind, tmp_path):
    exact = dense(both[0].encode(residual()))
    sparse = load_encoder(tmp_path / "sae.safetensors", Scratch(CPU, torch.bfloat16)).encode(residual())
    assert sparse.values.dtype == np.float32
    found = dense(sparse)
    shared = (found != 0) & (exact != 0)
    assert shared.sum() > 0.9 * ((found != 0) | (exact != 0)).sum()
    torch.testing.assert_close(found[shared], exact[shared], rtol=0.02, atol=0.03)
    assert not torch.equal(found, exact)
