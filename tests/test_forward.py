"""The forward pass: what each hook catches, when the pass ends, batches, and a device that is too small."""

import numpy as np
import pytest
import tiny
import torch
from tessera import forward as forward_module
from tessera.errors import TesseraError
from tessera.forward import forward, plan_batches
from tessera.models import Tokens, load_model, tokenise


def batches(model, tokens, layers, budget=None):
    """All batches of a pass that reads the residual stream after `layers`."""
    return list(forward(model, tokens, dict.fromkeys(layers, "resid_post"), lambda batch: batch, budget))


def alone(model, ids, layers):
    """Residuals [T, d] of one unpadded text per layer, in a pass of its own."""
    tokens = Tokens([ids], [np.ones(len(ids), dtype=bool)], np.zeros(1, dtype=bool))
    (batch,) = batches(model, tokens, layers)
    return {layer: batch.states[layer][0] for layer in layers}


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
    (batch,) = batches(model, tokens, layers, budget=4096)
    assert len(batch.examples) == len(tiny.TEXTS)
    assert batch.ids_BT.shape[1] == max(len(ids) for ids in tokens.ids)
    for row, example in enumerate(batch.examples):
        ids = tokens.ids[example]
        np.testing.assert_array_equal(batch.ids_BT[row, : len(ids)], ids)
        np.testing.assert_array_equal(batch.content_BT[row, : len(ids)], tokens.content[example])
        assert not batch.content_BT[row, len(ids) :].any()
        found = alone(model, ids, layers)
        for layer in layers:
            torch.testing.assert_close(batch.states[layer][row, : len(ids)], found[layer], rtol=1e-5, atol=1e-5)


# Batches


@pytest.mark.parametrize("budget", [1, 7, 40, 4096])
def test_every_example_is_in_one_batch_within_the_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 30, size=200)
    planned = plan_batches(lengths, budget)
    np.testing.assert_array_equal(np.sort(np.concatenate(planned)), np.arange(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in planned)


@pytest.mark.parametrize("limit", [21, 45, 100])
def test_out_of_memory_loses_and_repeats_no_example(bert, monkeypatch, limit):
    catch, sizes = forward_module.catch, []

    def small_device(model, tokens, examples, hooks):
        size = len(examples) * max(len(tokens.ids[example]) for example in examples)
        sizes.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("no room")
        return catch(model, tokens, examples, hooks)

    monkeypatch.setattr(forward_module, "catch", small_device)
    tokens = tokenise(bert, tiny.TEXTS * 3, 32)
    found = batches(bert, tokens, [1], budget=4096)
    assert max(sizes) > limit
    assert sorted(np.concatenate([batch.examples for batch in found])) == list(range(len(tokens.ids)))
    for batch in found:
        for row, example in enumerate(batch.examples):
            np.testing.assert_array_equal(batch.ids_BT[row][batch.content_BT[row]], tokens.ids[example][1:-1])


def test_one_text_too_large_for_memory_is_an_error(bert, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(forward_module, "catch", no_memory)
    with pytest.raises(TesseraError, match=r"out of memory with one text of 21 tokens: lower max_tokens"):
        batches(bert, tokenise(bert, tiny.TEXTS, 32), [1])


def test_a_layer_the_model_lacks_is_an_error(folders):
    spec = tiny.model_spec(folders["bert"])
    model = load_model("small", spec, spec, seed=0)
    tokens = tokenise(model, ["the cat"], 32)
    with pytest.raises(TesseraError, match=r"layer 4; the model has 4 layers, 0 to 3"):
        batches(model, tokens, [4])
