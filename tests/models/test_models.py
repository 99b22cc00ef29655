"""Models: content tokens, what they are loaded from and how deep, and models that cannot be used."""

import re
from contextlib import suppress
from functools import partial

import huggingface_hub.constants
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tessera.base.errors import TesseraError
from tessera.models.forward import catch
from tessera.models.loading import load_model
from tessera.models.text import special_ids, tokenise
from transformers import AutoModelForCausalLM, T5Config, T5Model


def weights(model):
    return torch.cat([parameter.flatten() for parameter in model.module.parameters()])


# Tokens


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_content_is_the_words_and_unknown_words_count(loaded, name):
    tokenizer = loaded[name].tokenizer
    tokens = tokenise(loaded[name], tiny.TEXTS, 32)
    for text, ids, content in zip(tiny.TEXTS, tokens.ids, tokens.content, strict=True):
        words = [word if word not in tiny.UNKNOWN else tokenizer.unk_token for word in text.split()]
        assert tokenizer.convert_ids_to_tokens(ids[content].tolist()) == words
        assert len(ids) == len(words) + tiny.ADDED[name]
    assert tokens.content_counts_E.tolist() == [len(text.split()) for text in tiny.TEXTS]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_special_tokens_are_no_content(loaded, name):
    tokenizer = loaded[name].tokenizer
    special = {token for role, token in tiny.ROLES[name].items() if role != "unk"}
    assert set(tokenizer.convert_ids_to_tokens(special_ids(tokenizer).tolist())) == special


def test_added_special_tokens_are_no_content():
    tokenizer = tiny.make_tokenizer("gemma2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>"]})
    assert tokenizer.convert_tokens_to_ids("<start_of_turn>") in special_ids(tokenizer)
    assert tokenizer.unk_token_id not in special_ids(tokenizer)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_truncation_at_the_boundary(loaded, name):
    words = 9 - tiny.ADDED[name]
    texts = [" ".join(["rain"] * count) for count in (words - 1, words, words + 1, words + 7)]
    tokens = tokenise(loaded[name], texts, 9)
    assert [len(ids) for ids in tokens.ids] == [8, 9, 9, 9]
    assert tokens.truncated.tolist() == [False, False, True, True]
    assert tokens.content_counts_E.tolist() == [words - 1, words, words, words]


def test_text_without_content_is_an_error(model):
    with pytest.raises(TesseraError, match=r"^2 texts have no content token .*number 1 of the shard\)$"):
        tokenise(model, ["rain", "", "the cat", " "], 32)


# Loading


def control_of(folder, seed=0, **options):
    """The control of a model folder."""
    trained = tiny.model_spec(folder)
    spec = {key: value for key, value in trained.items() if key != "path"} | {"control_of": "small"}
    return load_model(tiny.identity(spec, trained, name="control", seed=seed), **options)


def test_control_draws_new_weights_from_the_seed(loaded, folders):
    first, again, other = (control_of(folders["gemma2"], seed) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert weights(first).shape == weights(loaded["gemma2"]).shape
    assert not torch.equal(weights(first), weights(loaded["gemma2"]))
    assert not torch.equal(weights(first), weights(other))
    assert not first.module.training
    np.testing.assert_array_equal(
        tokenise(first, tiny.TEXTS, 32).ids[1], tokenise(loaded["gemma2"], tiny.TEXTS, 32).ids[1]
    )


ALL_HOOKS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z", "mlp_in", "mlp_in_normalized")


def caught(model, layers, hooks):
    """The activations [B, T, d] of all texts at every place of `hooks` that the architecture has."""
    tokens, rows, found = tokenise(model, tiny.TEXTS, 32), np.arange(len(tiny.TEXTS)), {}
    for hook in hooks:
        for layer in layers:
            with suppress(TesseraError):  # BERT has few hooks, and LayerNorms are no RMSNorm
                found[layer, hook] = catch(model, tokens, rows, {layer: hook}).states[layer]
    return found


@pytest.mark.parametrize("architecture", tiny.ROLES)
@pytest.mark.parametrize("drawn", [False, True], ids=["trained", "control"])
@pytest.mark.parametrize("depth", [1, 3, tiny.LAYERS])
def test_what_is_read_does_not_depend_on_the_depth(architecture, drawn, depth, tmp_path):
    folder = tiny.save_model(architecture, tmp_path / "model")
    load = partial(control_of, folder, 5) if drawn else partial(load_model, tiny.identity(tiny.model_spec(folder)))
    whole, part = load(), load(depth=depth)
    expected, found = (caught(model, range(depth), ALL_HOOKS) for model in (whole, part))
    assert found.keys() == expected.keys() >= {(layer, "resid_post") for layer in range(depth)}
    assert all(torch.equal(found[place], expected[place]) for place in expected)
    built = [any(True for _ in block.parameters()) for block in part.blocks]
    assert built == [layer < depth for layer in range(tiny.LAYERS)]
    assert type(part.module).__name__ == type(whole.module).__name__


def test_a_pass_through_a_block_that_is_not_built_is_an_error(folders):
    model = load_model(tiny.identity(tiny.model_spec(folders["llama"])), depth=2)
    with pytest.raises(TesseraError, match="a block behind the depth that the model was loaded with"):
        catch(model, tokenise(model, tiny.TEXTS, 32), np.arange(2), {3: "resid_post"})


def rewrite(folder, change):
    """The tensors of a folder's weights, changed."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if change(name)}, file, metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", tiny.ROLES)
def test_only_tensors_of_blocks_that_are_built_may_not_lack(architecture, tmp_path):
    folder = tiny.save_model(architecture, tmp_path / "model")
    identity = tiny.identity(tiny.model_spec(folder))
    rewrite(folder, lambda name: not re.search(r"\b[23]\.", name))
    load_model(identity, depth=2)
    with pytest.raises(TesseraError, match=r"lack \d+ tensors, such as \S*\b2\."):
        load_model(identity, depth=3)
    rewrite(folder, lambda name: not re.search(r"\b1\..*weight", name))
    with pytest.raises(TesseraError, match=r"lack \d+ tensors, such as \S*\b1\."):
        load_model(identity, depth=2)


def test_a_head_and_deeper_blocks_are_not_talked_about(tmp_path, capfd):
    tokenizer = tiny.make_tokenizer("llama")
    AutoModelForCausalLM.from_config(tiny.make_config("llama", tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    capfd.readouterr()
    load_model(tiny.identity(tiny.model_spec(tmp_path)), depth=1)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())


def test_model_is_frozen_float32_on_the_cpu(model):
    assert {(p.dtype, p.device.type, p.requires_grad) for p in model.module.parameters()} == {
        (torch.float32, "cpu", False)
    }
    assert model.d_model == tiny.HIDDEN
    assert len(model.blocks) == tiny.LAYERS


def fails(folder, **changes):
    """The one line with which loading fails."""
    with pytest.raises(TesseraError) as caught:
        tiny.load(folder, **changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("config key models.small")
    return str(caught.value)


def test_weights_in_pickle_format_are_not_read(tmp_path):
    folder = tiny.save_model("bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in fails(folder)
    torch.save({"weight": torch.ones(2)}, folder / "pytorch_model.bin")
    assert "model.safetensors" in fails(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_damaged_json_is_an_error(tmp_path, file):
    folder = tiny.save_model("bert", tmp_path / "model")
    (folder / file).write_text("{")
    assert str(folder) in fails(folder)


def test_folder_that_is_not_there_is_an_error(tmp_path):
    assert "nowhere" in fails(tmp_path / "nowhere")


def test_more_tokens_than_positions_is_an_error(folders):
    assert "max_tokens: 65, but the model reads at most 64" in fails(folders["gpt2"], max_tokens=tiny.POSITIONS + 1)


def test_cuda_without_a_gpu_is_an_error(folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "models.small.device" in fails(folders["bert"], device="cuda")


@pytest.mark.parametrize(("layers", "decoder"), [(2, 2), (4, 2)])
def test_encoder_decoder_is_refused(tmp_path, layers, decoder):
    sizes = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4}
    sizes |= {"num_layers": layers, "num_decoder_layers": decoder}
    T5Model(T5Config(**sizes)).save_pretrained(tmp_path)
    tiny.make_tokenizer("llama").save_pretrained(tmp_path)
    for depth in (None, 1):
        with pytest.raises(TesseraError, match=r"^T5Model has an encoder and a decoder"):
            load_model(tiny.identity(tiny.model_spec(tmp_path)), depth=depth)


def test_unknown_hub_model_is_an_error_offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    spec = {"hub": "tessera-tests/no-such-model", "device": "cpu", "dtype": "float32", "max_tokens": 32}
    with pytest.raises(TesseraError, match=r"^config key models\.small: 'tessera-tests/no-such-model' cannot be"):
        load_model(tiny.identity(spec))


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04}q\x00.", b"PK\x03\x04" + bytes(99)], ids=["empty", "pickle", "zip"]
)
def test_damaged_weights_are_an_error(tmp_path, content):
    folder = tiny.save_model("bert", tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    assert str(folder) in fails(folder)


def test_weights_of_another_model_are_an_error(tmp_path):
    folder = tiny.save_model("bert", tmp_path / "model")
    save_file({"a": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lack" in fails(folder)


def test_no_tokenizer_is_an_error(tmp_path):
    folder = tiny.save_model("bert", tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "no tokenizer files" in fails(folder)


def test_a_folder_that_the_workflow_made_needs_no_path(folders):
    spec = {key: value for key, value in tiny.model_spec("none").items() if key != "path"} | {"tuned": {"from": "base"}}
    first, second = tiny.load(folders["bert"]), load_model(tiny.identity(spec, seed=1), folder=folders["bert"])
    assert torch.equal(weights(first), weights(second))
