"""Interventions at the tokens they are meant for: against hooks of torch, on four architectures."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from tessera.interventions.acting import acting
from tessera.interventions.kinds import Added, Clamped, Projected
from tessera.interventions.latents import Latents
from tessera.interventions.passes import moved
from tessera.interventions.steering import mean_norm, steered, with_content
from tessera.models.answers import answer
from tessera.models.forward import ALL, CONTENT, LAST, catch
from tessera.models.text import tokenise
from tessera.saes.preparing import prepare

LAYER, WIDTH, PLACE = 1, 96, (1, "resid_post")
CAUSAL = ("llama", "gpt2", "gpt_neox", "gemma2")
VECTOR = torch.randn(1, tiny.HIDDEN, generator=torch.Generator().manual_seed(3))
PROMPTS = pl.DataFrame(
    {
        "id": [0, 1],
        "text": ["the cat sat", "old birds sing in the red morning while"],
        "choices": [["the hill", "a river"], ["rain falls", "mill"]],
        "names": [["a", "b"]] * 2,
    }
)


@pytest.fixture(scope="module", params=CAUSAL)
def causal(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return tiny.load(tiny.save_model(request.param, root / request.param, causal=True), causal=True)


@dataclass
class Hand:
    """A hook of torch on a block, which adds VECTOR to the columns that `columns` says, by hand."""

    model: object
    columns: slice | list[int]

    def __enter__(self):
        self.handle = self.model.blocks[LAYER].register_forward_hook(self.add)

    def __exit__(self, *_):
        self.handle.remove()

    def add(self, _module, _args, output):
        state_BTD = (output[0] if isinstance(output, tuple) else output).clone()
        state_BTD[:, self.columns] += VECTOR
        return (state_BTD, *output[1:]) if isinstance(output, tuple) else state_BTD


def content_columns(model, text):
    return np.flatnonzero(tokenise(model, [text], 32).content[0]).tolist()


@pytest.mark.parametrize("where", [CONTENT, ALL])
def test_a_vector_added_is_what_a_hook_adds(causal, where):
    for text in tiny.TEXTS[:2]:
        tokens, change = (
            tokenise(causal, [text], 32),
            acting(PLACE, Added(VECTOR), pool_massive=True, where=where),
        )
        hooks = {layer: "resid_post" for layer in (1, 3)}
        with torch.inference_mode():
            found = catch(causal, tokens, np.array([0]), hooks, change).states
            with Hand(causal, content_columns(causal, text) if where == CONTENT else slice(None)):
                expected = catch(causal, tokens, np.array([0]), hooks).states
        for layer in hooks:
            there = slice(None) if where == CONTENT else slice(len(tokens.ids[0]))  # not the padding
            torch.testing.assert_close(found[layer][:, there], expected[layer][:, there], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("where", [CONTENT, ALL, LAST])
def test_answers_with_a_vector_added_are_those_of_a_hook(causal, where):
    change = acting(PLACE, Added(VECTOR), pool_massive=True, where=where)
    found = answer(causal, PROMPTS, max_tokens=32, change=change, where=where)["log_probability"].to_list()
    for number, row in enumerate(PROMPTS.iter_rows(named=True)):
        for place, choice in enumerate(row["choices"]):
            ids = causal.tokenizer(f"{row['text']} {choice}")["input_ids"]
            start = len(ids) - len(choice.split())
            prompt = content_columns(causal, row["text"])
            columns = {CONTENT: prompt, ALL: slice(None), LAST: slice(start - 1, None)}[where]
            with torch.inference_mode(), Hand(causal, columns):
                log_TV = causal.module(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=1)
            told = [log_TV[at - 1, ids[at]].item() for at in range(start, len(ids))]
            assert found[number][place] == pytest.approx(np.mean(told), abs=1e-4)


def test_a_row_of_a_batch_gets_its_own_vector(causal):
    """Rows with none keep every bit."""
    text, vectors_BD = tiny.TEXTS[1], torch.stack([torch.zeros(tiny.HIDDEN), VECTOR[0], -2 * VECTOR[0]])
    tokens, rows = tokenise(causal, [text] * 3, 32), np.arange(3)
    with torch.inference_mode():
        plain = catch(causal, tokens, rows, {3: "resid_post"}).states[3]
        change = acting(PLACE, Added(vectors_BD), pool_massive=True)
        found = catch(causal, tokens, rows, {3: "resid_post"}, change).states[3]
        alone = acting(PLACE, Added(vectors_BD[2:]), pool_massive=True)
        third = catch(causal, tokens, rows, {3: "resid_post"}, alone).states[3][2]
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[2], third) and not torch.allclose(found[1], plain[1], atol=1e-2)


def test_a_clamped_latent_is_at_its_value(causal, tmp_path):
    files = tmp_path / "encoder", tmp_path / "decoder"
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH, apply_b_dec_to_input=False)
    prepare(folder, *files, width=WIDTH, layer=LAYER)
    latents = Latents(causal, *files, PLACE)
    tokens, every = tokenise(causal, tiny.TEXTS, 32), np.arange(len(tiny.TEXTS))
    with torch.inference_mode():
        before = catch(causal, tokens, every, {LAYER: "resid_post"})
        content_BT = torch.from_numpy(before.content_BT)
        state_ND = before.states[LAYER][content_BT]
        acts_N = torch.zeros(len(state_ND))
        found = latents.encoder.encode(state_ND)
        latent = int(np.bincount(found.latents).argmax())
        token = np.repeat(np.arange(len(state_ND)), found.counts_N)
        acts_N[token[found.latents == latent]] = torch.from_numpy(found.values[found.latents == latent])
        change = acting(PLACE, Clamped(latents, np.array([latent]), np.array([2.5])), pool_massive=True)
        after = catch(causal, tokens, every, {LAYER: "resid_post"}, change).states[LAYER][content_BT]
    moved_ND = (2.5 - acts_N)[:, None] * latents.W_WD[latent]
    torch.testing.assert_close(after, state_ND + moved_ND, rtol=1e-4, atol=1e-4)
    assert (acts_N > 0).any() and (acts_N == 0).any()


def test_clamped_variants_hold_their_own_latents_and_the_first_is_the_plain_model(causal, tmp_path):
    files = tmp_path / "encoder", tmp_path / "decoder"
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH, apply_b_dec_to_input=False)
    prepare(folder, *files, width=WIDTH, layer=LAYER)
    sae = Latents(causal, *files, PLACE)
    vectors = np.zeros((2, tiny.HIDDEN), dtype=np.float32).tolist()
    directions = pl.DataFrame({"draw": [0, 1], "controls": [False, True], "vector": vectors})
    directions = directions.with_columns(latents=pl.Series([[3], [5]]), largest=pl.Series([2.0, 4.0]))
    options = {"max_tokens": 32, "pool_massive": True}
    found = steered(causal, PLACE, directions, [1.0], tiny.TEXTS, lambda: sae, where=CONTENT, **options)
    assert found.variants["unit"].to_list() == [2.0, 2.0, 4.0]
    text, hooks = tiny.TEXTS[1], {3: "resid_post"}
    with torch.inference_mode():
        together = catch(causal, tokenise(causal, [text] * 3, 32), np.arange(3), hooks, found.change(np.arange(3)))
        plain = catch(causal, tokenise(causal, [text] * 3, 32), np.arange(3), hooks).states[3]
        for row, latent, value in ((1, 3, 2.0), (2, 5, 4.0)):
            alone = acting(PLACE, Clamped(sae, np.array([latent]), np.array([value])), pool_massive=True)
            one = catch(causal, tokenise(causal, [text] * 3, 32), np.arange(3), hooks, alone).states[3][row]
            torch.testing.assert_close(together.states[3][row], one, rtol=1e-5, atol=1e-5)
    assert torch.equal(together.states[3][0], plain[0])


def test_an_oblique_projection_leaves_nothing_that_it_reads(causal):
    generator = np.random.default_rng(0)
    left_DN, right_ND, centre_D = (generator.normal(size=size) for size in ((32, 2), (2, 32), 32))
    left_DN = left_DN @ np.linalg.inv(right_ND @ left_DN)  # a projection: right left = 1
    change = acting(PLACE, Projected(left_DN, right_ND, centre_D, causal.device), pool_massive=True)
    tokens = tokenise(causal, tiny.TEXTS[:3], 32)
    with torch.inference_mode():
        found = catch(causal, tokens, np.arange(3), {LAYER: "resid_post"}, change)
    state_ND = found.states[LAYER][torch.from_numpy(found.content_BT)].double().numpy()
    np.testing.assert_allclose((state_ND - centre_D) @ right_ND.T, 0, atol=1e-3)


def test_variants_are_every_draw_at_every_alpha(causal):
    directions = pl.DataFrame(
        {"draw": [0, 1], "controls": [False, True], "vector": np.eye(tiny.HIDDEN, dtype=np.float32)[:2].tolist()}
    ).with_columns(latents=pl.lit(None, pl.List(pl.Int64)), largest=pl.lit(None, pl.Float64))
    options = {"max_tokens": 32, "pool_massive": True}
    found = steered(causal, PLACE, directions, [-0.5, 2.0], tiny.TEXTS, None, where=CONTENT, **options)
    unit = mean_norm(causal, PLACE, tiny.TEXTS, **options)
    with torch.inference_mode():
        norms = [
            catch(causal, tokenise(causal, [text], 32), np.array([0]), dict([PLACE])).states[LAYER][0].norm(dim=1)
            for text in tiny.TEXTS
        ]
    content = [tokenise(causal, [text], 32).content[0] for text in tiny.TEXTS]
    every = np.concatenate([norm[: len(one)][one].numpy() for norm, one in zip(norms, content, strict=True)])
    assert unit == pytest.approx(every.mean(), rel=1e-5)
    assert found.variants.select("draw", "controls", "alpha").rows() == [
        (None, False, 0.0),
        (0, False, -0.5),
        (0, False, 2.0),
        (1, True, -0.5),
        (1, True, 2.0),
    ]
    expected = np.zeros((5, tiny.HIDDEN))
    expected[[1, 2], 0] = expected[[3, 4], 1] = -0.5 * unit, 2 * unit
    np.testing.assert_allclose(found.of(np.arange(5)).vector_BD.numpy(), expected, rtol=1e-5)


def test_without_steering_nothing_moves(causal):
    """The first variant is the model as it is, bit for bit."""
    still = moved(
        causal, tiny.TEXTS, {"0": acting(PLACE, Added(torch.zeros(1, tiny.HIDDEN)), pool_massive=True)}, max_tokens=32
    )
    assert still["kl"].to_list() == [0.0] * len(tiny.TEXTS) and still["surprise"].equals(still["plain_surprise"])
    plain, zero = (
        answer(causal, PROMPTS, max_tokens=32, change=change, budget=1)["log_probability"].to_list()
        for change in (None, acting(PLACE, Added(torch.zeros(1, tiny.HIDDEN)), pool_massive=True, where=ALL))
    )
    np.testing.assert_allclose(zero, plain, rtol=0, atol=1e-6)


def test_texts_without_content_are_left_out(loaded):
    texts = pl.Series(["rain", "", "  ", "</s>", "rain", "the cat"])
    assert with_content(loaded["llama"], texts).to_list() == ["rain", "the cat"]
