"""The forward pass: what each hook catches, when the pass ends, batches, and a device that is too small."""

import numpy as np
import pytest
import tiny
import torch
from tessera.base.errors import TesseraError
from tessera.models import forward as forward_module
from tessera.models.forward import Change, catch, forward, plan_batches
from tessera.models.loading import load_model
from tessera.models.text import STEP, Tokens, padded, tokenise


def batches(model, tokens, layers, budget=None):
    """All batches of a pass that reads the residual stream after `layers`."""
    return list(forward(model, tokens, dict.fromkeys(layers, "resid_post"), lambda batch: batch, budget))


def alone(model, ids, layers):
    """Residuals [T, d] of one unpadded text per layer, in a pass of its own."""
    tokens = Tokens([ids], [np.ones(len(ids), dtype=bool)], np.zeros(1, dtype=bool))
    (batch,) = batches(model, tokens, layers)
    return {layer: batch.states[layer][0, : len(ids)] for layer in layers}


# The residual stream


def test_residuals_are_the_outputs_of_the_blocks(model):
    layers = list(range(tiny.LAYERS))
    for ids in tokenise(model, tiny.TEXTS, 32).ids:
        seen, length = [], padded(np.array([len(ids)]))[0]
        rows = torch.zeros((2, length), dtype=torch.long)  # ids and mask, padded by hand
        rows[0], rows[0, : len(ids)], rows[1, : len(ids)] = model.tokenizer.pad_token_id or 0, torch.tensor(ids), 1
        handle = model.blocks[-1].register_forward_hook(lambda *call, seen=seen: seen.append(call[-1]))
        with torch.inference_mode():
            whole = model.module(input_ids=rows[:1], attention_mask=rows[1:], output_hidden_states=True).hidden_states
        handle.remove()
        with torch.inference_mode():
            plain = model.module(input_ids=torch.tensor(ids)[None], output_hidden_states=True).hidden_states
        last = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        found = alone(model, ids, layers)
        for layer, expected in zip(layers, [*whole[1:-1], last], strict=True):
            torch.testing.assert_close(found[layer], expected[0, : len(ids)], rtol=0, atol=1e-6)
        for layer, expected in zip(layers[:-1], plain[1:-1], strict=True):
            torch.testing.assert_close(found[layer], expected[0], rtol=0, atol=2e-5)


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


def test_no_bit_of_a_residual_depends_on_what_else_is_in_the_batch(model):
    layers = list(range(tiny.LAYERS))
    texts = [*tiny.TEXTS, *(f"{text} {word}" for text in tiny.TEXTS for word in tiny.WORDS[:6])]
    tokens = tokenise(model, texts, 32)
    found = batches(model, tokens, layers, budget=4096)
    assert len(found) < len(texts) / 3
    for batch in found:
        assert batch.ids_BT.shape[1] % STEP == 0
        for row, example in enumerate(batch.examples):
            ids = tokens.ids[example]
            np.testing.assert_array_equal(batch.ids_BT[row, : len(ids)], ids)
            np.testing.assert_array_equal(batch.content_BT[row, : len(ids)], tokens.content[example])
            assert not batch.content_BT[row, len(ids) :].any()
            by_itself = alone(model, ids, layers)
            for layer in layers:
                assert torch.equal(batch.states[layer][row, : len(ids)], by_itself[layer])


def test_texts_are_padded_to_no_more_than_a_model_may_read():
    lengths = np.array([1, 8, 9, 20, 21])
    np.testing.assert_array_equal(padded(lengths), [8, 8, 12, 20, 24])
    np.testing.assert_array_equal(padded(lengths, 21), [8, 8, 12, 20, 21])


# Other hooks

# Which parts of a block stand where: output projection, MLP, norm before the MLP, norms of what is added.
PLACES = {
    "llama": ("self_attn.o_proj", "mlp", "post_attention_layernorm", None),
    "gemma2": (
        "self_attn.o_proj",
        "mlp",
        "pre_feedforward_layernorm",
        ("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "olmo2": ("self_attn.o_proj", "mlp", None, ("post_attention_layernorm", "post_feedforward_layernorm")),
    "gpt2": ("attn.c_proj", "mlp", "ln_2", None),
    "gpt_neox": ("attention.dense", "mlp", "post_attention_layernorm", None),
}


@pytest.fixture(scope="module", params=PLACES)
def drawn(request, tmp_path_factory):
    """Architecture, model and places of a block; norms and biases are random too."""
    model = tiny.load(tiny.save_model(request.param, tmp_path_factory.mktemp("drawn") / request.param))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.module.parameters():
            if tensor.ndim == 1:
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return request.param, model, PLACES[request.param]


def at(model, layer, hook):
    """The activations [B, T, d] of all texts at a hook."""
    return catch(model, tokenise(model, tiny.TEXTS, 32), np.arange(len(tiny.TEXTS)), {layer: hook}).states[layer]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", range(tiny.LAYERS))
def test_what_is_added_adds_up(drawn, layer):
    _, model, _ = drawn
    before, attention, mlp = (at(model, layer, hook) for hook in ("resid_pre", "attn_out", "mlp_out"))
    assert min(part.norm() for part in (before, attention, mlp)) > 0.1
    close(before + attention + mlp, at(model, layer, "resid_post"))
    if layer:
        torch.testing.assert_close(before, at(model, layer - 1, "resid_post"), rtol=0, atol=0)


@torch.inference_mode()
def test_z_through_the_projection_is_what_attention_adds(drawn):
    _, model, (projection, _, _, added) = drawn
    out = model.blocks[2].get_submodule(projection)(at(model, 2, "z"))
    close(model.blocks[2].get_submodule(added[0])(out) if added else out, at(model, 2, "attn_out"))


@torch.inference_mode()
def test_mlp_in_through_the_mlp_is_what_it_adds(drawn):
    _, model, (_, mlp, _, added) = drawn
    out = model.blocks[2].get_submodule(mlp)(at(model, 2, "mlp_in"))
    close(model.blocks[2].get_submodule(added[1])(out) if added else out, at(model, 2, "mlp_out"))


@torch.inference_mode()
def test_mlp_in_normalized_lacks_only_the_weights_of_the_norm(drawn):
    architecture, model, (_, _, norm, _) = drawn
    if architecture not in ("llama", "gemma2"):
        with pytest.raises(TesseraError, match=r"^hook mlp_in_normalized: .*(no RMSNorm|none of the parts)") as caught:
            at(model, 2, "mlp_in_normalized")
        assert "\n" not in str(caught.value)
        return
    found, x = at(model, 2, "mlp_in_normalized"), at(model, 2, "resid_pre") + at(model, 2, "attn_out")
    close(found, x / (x.square().mean(dim=-1, keepdim=True) + model.module.config.rms_norm_eps).sqrt())
    weight = model.blocks[2].get_submodule(norm).weight
    close(found * (weight + 1 if architecture == "gemma2" else weight), at(model, 2, "mlp_in"))
    assert not torch.allclose(found, at(model, 2, "mlp_in"), atol=0.1)


@pytest.mark.parametrize("hook", ["attn_out", "mlp_out", "z", "mlp_in", "mlp_in_normalized"])
def test_hooks_that_bert_lacks(bert, hook):
    with pytest.raises(TesseraError, match=r"^hook \w+: Bert\w+ has none of the parts .*; its parts: ") as caught:
        list(forward(bert, tokenise(bert, tiny.TEXTS, 32), {1: hook}, lambda batch: batch))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hook", ["attn_out", "mlp_out"])
def test_outputs_that_do_not_add_up_are_refused(loaded, hook):
    model = loaded["llama"]
    tokens = tokenise(model, tiny.TEXTS, 32)
    handle = model.blocks[1].register_forward_hook(lambda _module, _inputs, output: 1.1 * output)
    try:
        with pytest.raises(TesseraError, match=rf"^hook {hook}, layer 1: in LlamaModel, .* not add up") as caught:
            list(forward(model, tokens, {0: hook, 1: hook}, lambda batch: batch))
        list(forward(model, tokens, {0: hook, 1: "resid_post"}, lambda batch: batch))
    finally:
        handle.remove()
    assert "\n" not in str(caught.value)
    assert len(list(forward(model, tokens, {0: hook, 1: hook}, lambda batch: batch))) > 0


@pytest.mark.parametrize("hook", ["resid_pre", "z", "attn_out", "mlp_in", "mlp_out", "resid_post"])
def test_pass_ends_where_the_last_hook_is_caught(loaded, hook):
    model, called = loaded["llama"], []
    parts = {f"block {number}": block for number, block in enumerate(model.blocks)}
    parts |= {f"{name} 2": model.blocks[2].get_submodule(name) for name in ("self_attn", "mlp")}
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: called.append(name)) for name, part in parts.items()
    ]
    catch(model, tokenise(model, tiny.TEXTS, 32), np.arange(2), {2: hook, 0: "mlp_out"})
    for handle in handles:
        handle.remove()
    inside = {"resid_pre": 0, "z": 1, "attn_out": 1}.get(hook, 2)
    assert called == ["block 0", "block 1", "block 2", *["self_attn 2", "mlp 2"][:inside]]


# A change in the pass

CHANGED = ("resid_pre", "z", "attn_out", "mlp_in", "mlp_out", "resid_post")
EVERY = dict.fromkeys(range(tiny.LAYERS), "resid_post")


def with_change(model, hooks, of, hook, layer=1):
    """States of all texts at `hooks` with a change at `hook` of `layer`, and the content tokens."""
    tokens, every = tokenise(model, tiny.TEXTS, 32), np.arange(len(tiny.TEXTS))
    batch = catch(model, tokens, every, hooks, Change(layer, hook, of) if of else None)
    return batch.states, torch.from_numpy(batch.content_BT)


def louder(state_BTD, content_BT):
    return torch.where(torch.from_numpy(content_BT)[:, :, None], state_BTD + 1, state_BTD)


@pytest.mark.parametrize("hook", CHANGED)
def test_a_change_is_seen_there_and_behind(drawn, hook):
    _, model, _ = drawn
    before, content_BT = with_change(model, {1: hook}, None, hook)
    after, _ = with_change(model, {1: hook}, louder, hook)
    assert torch.equal(after[1][~content_BT], before[1][~content_BT])
    assert torch.equal(after[1][content_BT], before[1][content_BT] + 1)
    (plain, _), (found, _) = (with_change(model, EVERY, of, hook) for of in (None, louder))
    same = [torch.equal(found[layer], plain[layer]) for layer in EVERY]
    assert same == [True, False, False, False]
    assert torch.equal(with_change(model, EVERY, None, hook)[0][3], plain[3])  # no hook is left


@pytest.mark.parametrize("hook", CHANGED)
def test_a_change_is_what_a_hook_of_torch_makes(drawn, hook):
    _, model, (projection, mlp, _, added) = drawn
    block = model.blocks[1]
    names = {"z": projection, "mlp_in": mlp, "mlp_out": added[1] if added else mlp}
    if hook == "attn_out":
        names["attn_out"] = added[0] if added else projection.partition(".")[0]
    part = block.get_submodule(names[hook]) if hook in names else block

    def on_input(_module, args, kwargs):
        return (3 * args[0], *args[1:]) if args else (), kwargs if args else kwargs | {
            "hidden_states": 3 * kwargs["hidden_states"]
        }

    def on_output(_module, _args, output):
        return (3 * output[0], *output[1:]) if isinstance(output, tuple) else 3 * output

    found, _ = with_change(model, EVERY, lambda state_BTD, _content_BT: 3 * state_BTD, hook)
    if hook in ("resid_pre", "z", "mlp_in"):
        handle = part.register_forward_pre_hook(on_input, with_kwargs=True)
    else:
        handle = part.register_forward_hook(on_output)
    expected, _ = with_change(model, EVERY, None, hook)
    handle.remove()
    assert all(torch.equal(found[layer], expected[layer]) for layer in EVERY)


def test_a_change_where_nothing_reads_the_state_is_refused(loaded):
    with pytest.raises(TesseraError, match=r"^hook mlp_in_normalized: no part of the model reads .*; choose an SAE of"):
        with_change(loaded["llama"], EVERY, louder, "mlp_in_normalized")
    with pytest.raises(TesseraError, match=r"asks for layer 4; the model has 4 layers, 0 to 3"):
        with_change(loaded["llama"], EVERY, louder, "resid_post", layer=4)


# Batches


@pytest.mark.parametrize("budget", [1, 7, 40, 4096])
def test_every_example_is_in_one_batch_within_the_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 30, size=200)
    planned = plan_batches(lengths, budget)
    np.testing.assert_array_equal(np.sort(np.concatenate(planned)), np.arange(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in planned)
    assert all(len(set(lengths[batch])) == 1 for batch in planned)


@pytest.mark.parametrize("where", ["catch", "compute"])
@pytest.mark.parametrize("limit", [24, 48, 100])
def test_out_of_memory_loses_and_repeats_no_example(bert, monkeypatch, caplog, limit, where):
    sizes = []

    def small_device(batch):
        sizes.append(batch.ids_BT.size)
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("no room")
        return batch

    if where == "catch":
        monkeypatch.setattr(forward_module, "catch", lambda *arguments: small_device(catch(*arguments)))
    tokens = tokenise(bert, tiny.TEXTS * 3, 32)
    compute = small_device if where == "compute" else lambda batch: batch
    found = list(forward(bert, tokens, {1: "resid_post"}, compute, 4096))
    assert max(sizes) > limit
    assert "halved to 2048" in caplog.text and "halved to 1024" in caplog.text
    assert sorted(np.concatenate([batch.examples for batch in found])) == list(range(len(tokens.ids)))
    for batch in found:
        for row, example in enumerate(batch.examples):
            np.testing.assert_array_equal(batch.ids_BT[row][batch.content_BT[row]], tokens.ids[example][1:-1])


def test_one_text_too_large_for_memory_is_an_error(bert, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(forward_module, "catch", no_memory)
    with pytest.raises(TesseraError, match=r"out of memory with one text of 24 tokens: lower max_tokens"):
        batches(bert, tokenise(bert, tiny.TEXTS, 32), [1])


def test_a_layer_the_model_lacks_is_an_error(folders):
    for depth in (None, 5):
        model = load_model(tiny.identity(tiny.model_spec(folders["bert"])), depth=depth)
        with pytest.raises(TesseraError, match=r"layer 4; the model has 4 layers, 0 to 3"):
            batches(model, tokenise(model, ["the cat"], 32), [4])
