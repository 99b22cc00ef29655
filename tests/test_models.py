"""Models: the residual stream after each block, content tokens, batches, and models that cannot be used."""

import hashlib

import huggingface_hub.constants
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from tessera import models
from tessera.errors import TesseraError
from tessera.models import Tokens, load_model, plan_batches, residuals, special_ids, tokenise
from transformers import T5Config, T5Model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: tiny.save_model(name, root / name) for name in tiny.ARCHITECTURES}


@pytest.fixture(scope="module")
def loaded(folders):
    specs = {name: tiny.model_spec(folder) for name, folder in folders.items()}
    return {name: load_model(name, spec, spec, seed=0) for name, spec in specs.items()}


@pytest.fixture(params=tiny.ARCHITECTURES)
def model(request, loaded):
    return loaded[request.param]


@pytest.fixture
def bert(loaded):
    return loaded["bert"]


def alone(model, ids, layers):
    """Residuals [T, d] of one unpadded text per layer, in a pass of its own."""
    tokens = Tokens([ids], [np.ones(len(ids), dtype=bool)], np.zeros(1, dtype=bool))
    (batch,) = residuals(model, tokens, layers)
    return {layer: batch.residuals[layer][0] for layer in layers}


def weights(model):
    return torch.cat([parameter.flatten() for parameter in model.module.parameters()])


# The residual stream


def test_residuals_are_the_outputs_of_the_blocks(model):
    layers = list(range(tiny.LAYERS))
    for ids in tokenise(model, tiny.TEXTS, 32).ids:
        seen = []
        handle = model.blocks[-1].register_forward_hook(lambda *call, seen=seen: seen.append(call[-1]))
        with torch.inference_mode():
            states = model.module(input_ids=torch.tensor(ids)[None], output_hidden_states=True).hidden_states
        handle.remove()
        last = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        found = alone(model, ids, layers)
        for layer, expected in zip(layers, [*states[1:-1], last], strict=True):
            torch.testing.assert_close(found[layer], expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_last_layer_is_read_before_the_final_norm(loaded, name):
    model = loaded[name]
    ids = tokenise(model, tiny.TEXTS, 32).ids[1]
    found = alone(model, ids, [tiny.LAYERS - 1])[tiny.LAYERS - 1]
    with torch.inference_mode():
        final = model.module(input_ids=torch.tensor(ids)[None], output_hidden_states=True).hidden_states[-1][0]
    assert torch.allclose(found, final, atol=1e-3) == (name not in tiny.FINAL_NORM)


def test_layers_do_not_depend_on_which_others_are_asked_for(model):
    ids = tokenise(model, tiny.TEXTS, 32).ids[1]
    together = alone(model, ids, [2, 0, 3])
    for layer in (0, 2, 3):
        torch.testing.assert_close(alone(model, ids, [layer])[layer], together[layer], rtol=0, atol=0)


def test_pass_stops_after_the_deepest_block(model):
    called, hooks = [], [dict(block._forward_hooks) for block in model.blocks]
    handles = [
        block.register_forward_pre_hook(lambda *_, number=number: called.append(number))
        for number, block in enumerate(model.blocks)
    ]
    alone(model, tokenise(model, tiny.TEXTS, 32).ids[0], [2, 0])
    for handle in handles:
        handle.remove()
    assert called == [0, 1, 2]
    assert [dict(block._forward_hooks) for block in model.blocks] == hooks


def test_residuals_do_not_depend_on_padding_or_batch(model):
    layers = list(range(tiny.LAYERS))
    tokens = tokenise(model, tiny.TEXTS, 32)
    (batch,) = residuals(model, tokens, layers, budget=4096)
    assert len(batch.examples) == len(tiny.TEXTS)
    assert batch.ids_BT.shape[1] == max(len(ids) for ids in tokens.ids)
    for row, example in enumerate(batch.examples):
        ids = tokens.ids[example]
        np.testing.assert_array_equal(batch.ids_BT[row, : len(ids)], ids)
        np.testing.assert_array_equal(batch.content_BT[row, : len(ids)], tokens.content[example])
        assert not batch.content_BT[row, len(ids) :].any()
        found = alone(model, ids, layers)
        for layer in layers:
            torch.testing.assert_close(batch.residuals[layer][row, : len(ids)], found[layer], rtol=1e-5, atol=1e-5)


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


# Batches


@pytest.mark.parametrize("budget", [1, 7, 40, 4096])
def test_every_example_is_in_one_batch_within_the_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 30, size=200)
    batches = plan_batches(lengths, budget)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in batches)


@pytest.mark.parametrize("limit", [21, 45, 100])
def test_out_of_memory_loses_and_repeats_no_example(bert, monkeypatch, limit):
    forward, sizes = models._forward, []

    def small_device(model, tokens, examples, layers):
        size = len(examples) * max(len(tokens.ids[example]) for example in examples)
        sizes.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("no room")
        return forward(model, tokens, examples, layers)

    monkeypatch.setattr(models, "_forward", small_device)
    tokens = tokenise(bert, tiny.TEXTS * 3, 32)
    batches = list(residuals(bert, tokens, [1], budget=4096))
    assert max(sizes) > limit
    assert sorted(np.concatenate([batch.examples for batch in batches])) == list(range(len(tokens.ids)))
    for batch in batches:
        for row, example in enumerate(batch.examples):
            np.testing.assert_array_equal(batch.ids_BT[row][batch.content_BT[row]], tokens.ids[example][1:-1])


def test_one_text_too_large_for_memory_is_an_error(bert, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(models, "_forward", no_memory)
    with pytest.raises(TesseraError, match=r"out of memory with one text of 21 tokens: lower max_tokens"):
        list(residuals(bert, tokenise(bert, tiny.TEXTS, 32), [1]))


# Loading


def test_control_draws_new_weights_from_the_seed(loaded, folders):
    source = tiny.model_spec(folders["gemma2"])
    control = {key: value for key, value in source.items() if key != "path"} | {"control_of": "gemma2"}
    first, again, other = (load_model("control", control, source, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert weights(first).shape == weights(loaded["gemma2"]).shape
    assert not torch.equal(weights(first), weights(loaded["gemma2"]))
    assert not torch.equal(weights(first), weights(other))
    assert not first.module.training
    np.testing.assert_array_equal(
        tokenise(first, tiny.TEXTS, 32).ids[1], tokenise(loaded["gemma2"], tiny.TEXTS, 32).ids[1]
    )


def test_model_is_frozen_float32_on_the_cpu(model):
    assert {(p.dtype, p.device.type, p.requires_grad) for p in model.module.parameters()} == {
        (torch.float32, "cpu", False)
    }
    assert model.d_model == tiny.HIDDEN
    assert len(model.blocks) == tiny.LAYERS


def fails(folder, **changes):
    """The one line with which loading fails."""
    spec = tiny.model_spec(folder, **changes)
    with pytest.raises(TesseraError) as caught:
        load_model("small", spec, spec, seed=0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("config key models.small")
    return str(caught.value)


def test_sha256_is_checked_and_named(folders):
    found = hashlib.sha256((folders["bert"] / "model.safetensors").read_bytes()).hexdigest()
    spec = tiny.model_spec(folders["bert"], sha256=found)
    load_model("small", spec, spec, seed=0)
    message = fails(folders["bert"], sha256="0" * 64)
    assert "models.small.sha256" in message
    assert found in message


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
    spec = tiny.model_spec(tmp_path)
    with pytest.raises(TesseraError, match=r"T5Model has an encoder and a decoder"):
        load_model("small", spec, spec, seed=0)


def test_unknown_hub_model_is_an_error_offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    spec = {"hub": "tessera-tests/no-such-model", "device": "cpu", "dtype": "float32", "max_tokens": 32}
    with pytest.raises(TesseraError, match=r"^config key models\.small: 'tessera-tests/no-such-model' cannot be"):
        load_model("small", spec, spec, seed=0)


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


def test_a_layer_the_model_lacks_is_an_error(folders):
    spec = tiny.model_spec(folders["bert"])
    model = load_model("small", spec, spec, seed=0)
    tokens = tokenise(model, ["the cat"], 32)
    with pytest.raises(TesseraError, match=r"layer 4; the model has 4 layers, 0 to 3"):
        next(residuals(model, tokens, [4]))


def test_bos_is_prepended_where_the_tokenizer_does_not(folders, tmp_path):
    spec = tiny.model_spec(folders["llama"])
    model = load_model("small", spec, spec, seed=0)
    plain, asked = (tokenise(model, tiny.TEXTS, 32, prepend_bos=bos) for bos in (False, True))
    assert [row.tolist() for row in plain.ids] == [row.tolist() for row in asked.ids]
    model.tokenizer = tiny.make_tokenizer("gpt2")
    with pytest.raises(TesseraError, match="no BOS token"):
        tokenise(model, tiny.TEXTS, 32, prepend_bos=True)
    model.tokenizer.bos_token = "<|endoftext|>"
    plain, asked = (tokenise(model, tiny.TEXTS, 5, prepend_bos=bos) for bos in (False, True))
    for short, row, content in zip(plain.ids, asked.ids, asked.content, strict=True):
        assert row[0] == model.tokenizer.bos_token_id and not content[0] and content[1:].all()
        assert row[1:].tolist() == short[:4].tolist()
    lengths = [len(text.split()) for text in tiny.TEXTS]
    assert asked.truncated.tolist() == [length > 4 for length in lengths]


def test_an_equal_source_is_as_good_as_the_same(folders):
    spec = tiny.model_spec(folders["bert"])
    first, second = load_model("small", spec, spec, seed=0), load_model("small", spec, dict(spec), seed=1)
    assert torch.equal(weights(first), weights(second))
