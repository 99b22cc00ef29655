"""Latents and directions taken out in a pass: by hand, by SAELens' arithmetic, and in a model that copies one."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from sae_lens import SAE, StandardSAE, StandardSAEConfig
from tessera.activations.massive import is_massive
from tessera.base.errors import TesseraError
from tessera.interventions.acting import acting
from tessera.interventions.kinds import Added, Clamped, Nothing, Projected, Without
from tessera.interventions.latents import Latents
from tessera.models.forward import catch
from tessera.models.text import tokenise
from tessera.saes.preparing import prepare

WIDTH = 96
EVERY = dict.fromkeys(range(tiny.LAYERS), "resid_post")
LAYER = 1
CHOSEN = np.arange(0, WIDTH, 2)
KINDS = [
    ("jumprelu", {}),
    ("gated", {}),
    ("standard", {"normalize_activations": "layer_norm"}),
    ("jumprelu", {"normalize_activations": "constant_norm_rescale"}),
    ("topk", {"k": 5}),
    ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
]


def prepared(folder, model, hook="resid_post", layer=LAYER):
    """The SAE in a folder, to take latents of out at a hook of a model."""
    tiny.change_sae(folder, metadata={"hook_name": f"blocks.{layer}.{'attn.hook_' if hook == 'z' else 'hook_'}{hook}"})
    files = folder.parent / "encoder", folder.parent / "decoder"
    prepare(folder, *files, width=SAE.load_from_disk(folder).cfg.d_sae, layer=layer)
    return Latents(model, *files, (layer, hook))


def change(latents, intervention, pool_massive=False):
    return acting(latents.place, intervention, pool_massive=pool_massive)


def without(latents, chosen=None, pool_massive=False):
    return change(latents, Without(latents, chosen), pool_massive)


@torch.inference_mode()
def states(model, change=None, hooks=EVERY, texts=tiny.TEXTS):
    """The states of all texts at `hooks`, and the content tokens."""
    batch = catch(model, tokenise(model, texts, 32), np.arange(len(texts)), hooks, change)
    return batch.states, torch.from_numpy(batch.content_BT)


def assert_same(found, expected, layers=EVERY):
    assert all(torch.equal(found[layer], expected[layer]) for layer in layers)


# Nothing


@pytest.mark.parametrize("hook", ["resid_pre", "resid_post"])
def test_nothing_and_silent_latents_change_no_bit(model, tmp_path, hook):
    latents = prepared(tiny.save_sae(tmp_path / "sae", "topk", width=WIDTH, k=3), model, hook)
    before, content_BT = states(model, hooks={LAYER: hook})
    found = latents.encoder.encode(before[LAYER][content_BT])
    silent = np.setdiff1d(np.arange(WIDTH), found.latents)
    assert 0 < len(silent) < WIDTH
    plain, _ = states(model)
    still = (Nothing(), Without(latents, silent), Without(latents, np.array([], dtype=int)))
    for intervention in (*still, Added(torch.zeros(1, tiny.HIDDEN))):
        assert_same(states(model, change(latents, intervention))[0], plain)
    assert not torch.equal(states(model, without(latents, found.latents[:1]))[0][3], plain[3])


# SAELens


def by_saelens(model, sae, chosen, texts=tiny.TEXTS):
    """The same states, by SAELens' own forward pass with its error term, its chosen latents zeroed by a hook."""

    def zero(acts, hook):
        acts[..., chosen] = 0
        return acts

    sae.use_error_term = True
    _, content_BT = states(model, texts=texts)

    def spliced(_module, _args, output):
        state_BTD = (output[0] if isinstance(output, tuple) else output).clone()
        with sae.hooks(fwd_hooks=[("hook_sae_acts_post", zero)]):
            state_BTD[content_BT] = sae(state_BTD[content_BT])
        return (state_BTD, *output[1:]) if isinstance(output, tuple) else state_BTD

    handle = model.blocks[LAYER].register_forward_hook(spliced)
    found, _ = states(model, texts=texts)
    handle.remove()
    return found


def by_hand(model, sae, chosen):
    """h − (decode(a) − decode(a, the chosen zeroed)) on content tokens, by a hook of torch."""
    _, content_BT = states(model)

    def subtracted(_module, _args, output):
        state_BTD = (output[0] if isinstance(output, tuple) else output).clone()
        whole = sae.decode(acts := sae.encode(state_BTD[content_BT]))
        rest = sae.encode(state_BTD[content_BT])  # a second time: decoding uses up the norms
        rest[:, chosen] = 0
        assert (acts != rest).any()
        state_BTD[content_BT] -= whole - sae.decode(rest)
        return (state_BTD, *output[1:]) if isinstance(output, tuple) else state_BTD

    handle = model.blocks[LAYER].register_forward_hook(subtracted)
    found, _ = states(model)
    handle.remove()
    return found


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chosen", [CHOSEN, None], ids=["chosen", "all"])
def test_latents_taken_out_equal_saelens_with_its_error_term(loaded, tmp_path, architecture, kind, chosen):
    model, (name, options) = loaded[architecture], kind
    folder = tiny.save_sae(tmp_path / "sae", name, width=WIDTH, **options)
    (found, _), (plain, _) = states(model, without(prepared(folder, model), chosen, True)), states(model)
    chosen, sae = np.arange(WIDTH) if chosen is None else chosen, SAE.load_from_disk(folder)
    for expected in (by_saelens(model, sae, chosen), by_hand(model, SAE.load_from_disk(folder), chosen)):
        for layer in EVERY:
            torch.testing.assert_close(found[layer], expected[layer], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[3], plain[3], atol=0.1)


def test_a_centred_sae_takes_out_what_it_saw(loaded, tmp_path):
    """Its activations are those of the centred state, scaled by that too."""
    model = loaded["gpt2"]
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH, normalize_activations="constant_norm_rescale")
    latents = prepared(folder, model)
    latents.encoder.centre = True
    (plain, content_BT), sae = states(model), SAE.load_from_disk(folder)
    x_ND = plain[LAYER][content_BT]
    x_ND = x_ND - x_ND.mean(dim=1, keepdim=True)
    added = x_ND.norm(dim=1, keepdim=True) / tiny.HIDDEN**0.5 * (sae.encode(x_ND) @ sae.W_dec).detach()
    found, _ = states(model, without(latents, None, True))
    torch.testing.assert_close(found[LAYER][content_BT], plain[LAYER][content_BT] - added, rtol=1e-5, atol=1e-5)


# Which tokens


def test_only_pooled_tokens_are_touched(loaded, tmp_path):
    """The first word of every text is made massive, and stays as it is unless massive tokens are pooled."""
    model = loaded["llama"]
    latents = prepared(tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH), model)
    texts = [text for text in tiny.TEXTS if len(text.split()) > 2]

    def sink(_module, _args, output):
        output = output.clone()
        output[:, 1] *= 100
        return output

    handle = model.blocks[LAYER].register_forward_hook(sink)
    try:
        plain, content_BT = states(model, texts=texts)
        few, many = without(latents), without(latents, None, True)
        less, everywhere = (states(model, one, texts=texts)[0] for one in (few, many))
    finally:
        handle.remove()
    state_ND = plain[LAYER][content_BT]
    massive = is_massive(state_ND.norm(dim=1), content_BT.sum(dim=1).numpy())
    assert int(massive.sum()) == len(texts)
    pooled_BT = content_BT.clone()
    pooled_BT[content_BT] = ~massive
    assert np.array_equal(few.of.pooled_BT, pooled_BT) and np.array_equal(many.of.pooled_BT, content_BT)
    assert torch.equal((less[LAYER] != plain[LAYER]).any(dim=2), pooled_BT)
    assert torch.equal((everywhere[LAYER] != plain[LAYER]).any(dim=2), content_BT)


def test_a_text_without_content_tokens_is_left_alone(loaded, tmp_path):
    latents = prepared(tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH), loaded["llama"])
    removal = without(latents).of
    state_BTD = torch.randn(3, 4, tiny.HIDDEN, generator=torch.Generator().manual_seed(0))
    content_BT = np.array([[True] * 4, [False] * 4, [False, True, True, False]])
    changed_BT = (removal(state_BTD, content_BT) != state_BTD).any(dim=2).numpy()
    assert np.array_equal(changed_BT, content_BT)
    assert removal(state_BTD, np.zeros_like(content_BT)) is state_BTD


# A direction


@pytest.mark.parametrize("hook", ["resid_pre", "attn_out", "mlp_out", "z", "resid_post"])
def test_a_direction_taken_out_leaves_none_of_it(loaded, tmp_path, hook):
    model = loaded["gemma2"]
    latents = prepared(tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH), model, hook)
    direction = np.random.default_rng(0).normal(size=tiny.HIDDEN)
    unit = torch.from_numpy(direction / np.linalg.norm(direction)).float()
    plain, content_BT = states(model, hooks={LAYER: hook})
    found, _ = states(
        model, change(latents, Projected.out_of(direction[None], tiny.HIDDEN, model.device), True), {LAYER: hook}
    )
    before, after = plain[LAYER][content_BT], found[LAYER][content_BT]
    assert (before @ unit).abs().max() > 0.1 and (after @ unit).abs().max() < 1e-5
    torch.testing.assert_close(after, before - (before @ unit)[:, None] * unit, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[LAYER][~content_BT], plain[LAYER][~content_BT])


# A planted latent


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A Llama without norms whose block 2 writes, where it reads the direction `read`, the direction `written`.

    The SAE's latents 0 and 1 are `read` and `unread`; nothing else is in any block.
    """
    root = tmp_path_factory.mktemp("planted")
    model = tiny.load(tiny.save_model("llama", root / "model", causal=True), causal=True)
    axes = torch.linalg.qr(torch.randn(tiny.HIDDEN, tiny.HIDDEN, generator=torch.Generator().manual_seed(0))).Q.T
    read, unread, written = axes[:3]
    with torch.no_grad():
        for block in model.blocks:
            block.input_layernorm = block.post_attention_layernorm = torch.nn.Identity()
            for weight in block.parameters():
                weight.zero_()
        mlp = model.blocks[2].mlp
        mlp.gate_proj.weight[0] = mlp.up_proj.weight[0] = 2 * read
        mlp.down_proj.weight[:, 0] = written
        embeddings = model.module.get_input_embeddings().weight
        embeddings += (1.0 - embeddings @ read)[:, None] * read + (0.5 - embeddings @ unread)[:, None] * unread
        embeddings -= (embeddings @ written)[:, None] * written
        sae = StandardSAE(StandardSAEConfig(d_in=tiny.HIDDEN, d_sae=8))
        sae.W_dec.copy_(torch.stack([read, unread, *axes[3:9]]))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_enc.copy_(torch.tensor([0.0, 0.0, *[-100.0] * 6]))
        sae.b_dec.zero_()
    sae.save_model(root / "sae")
    return SimpleNamespace(
        model=model, latents=prepared(root / "sae", model), read=read, unread=unread, written=written
    )


def test_a_latent_that_a_later_block_copies_takes_the_copy_with_it(planted):
    plain, content_BT = states(planted.model)
    found, _ = states(planted.model, without(planted.latents, np.array([0])))
    for layer in (2, 3):
        before, after = plain[layer][content_BT], found[layer][content_BT]
        assert (before @ planted.written).min() > 1 and (before @ planted.read).min() > 0.9
        assert max((after @ planted.written).abs().max(), (after @ planted.read).abs().max()) < 1e-5
        for axis in (planted.read, planted.written):
            before = before - (before @ axis)[:, None] * axis
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_a_latent_that_no_later_block_reads_takes_nothing_else_with_it(planted):
    plain, content_BT = states(planted.model)
    found, _ = states(planted.model, without(planted.latents, np.array([1])))
    for layer in (1, 2, 3):
        before, after = plain[layer][content_BT], found[layer][content_BT]
        assert (before @ planted.unread).min() > 0.4
        torch.testing.assert_close(after, before - (before @ planted.unread)[:, None] * planted.unread)


# What is refused


@pytest.mark.parametrize("architecture", tiny.RARE)
def test_latents_of_a_rare_architecture_cannot_be_taken_out(loaded, tmp_path, architecture):
    folder = tiny.save_rare_sae(tmp_path / "sae", architecture, width=WIDTH)
    files = tmp_path / "encoder", tmp_path / "decoder"
    prepare(folder, *files, width=WIDTH, layer=LAYER)
    with pytest.raises(
        TesseraError, match=rf"decoder: a {architecture} SAE is encoded by SAELens .* another SAE$"
    ) as at:
        Latents(loaded["llama"], *files, (LAYER, "resid_post"))
    assert "\n" not in str(at.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda latents: Without(latents, np.array([3, WIDTH])),
            r"^latent 96 is to be taken out of an SAE of 96 latents",
        ),
        (
            lambda latents: Clamped(latents, np.array([WIDTH]), np.ones(1)),
            r"^latent 96 is to be clamped in an SAE of 96 latents",
        ),
        (
            lambda _: Projected.out_of(np.zeros((1, tiny.HIDDEN)), tiny.HIDDEN, torch.device("cpu")),
            r"^1 directions \(1, 32\) of rank 0 are to be taken out of 32",
        ),
        (
            lambda _: Projected.out_of(np.ones((2, 31)), tiny.HIDDEN, torch.device("cpu")),
            r"^2 directions \(2, 31\) of rank 1 are to be taken out of 32",
        ),
    ],
)
def test_what_is_not_there_cannot_be_taken_out(loaded, tmp_path, make, message):
    latents = prepared(tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH), loaded["llama"])
    with pytest.raises(TesseraError, match=message):
        make(latents)


def test_an_sae_of_another_place_or_size_is_refused(loaded, tmp_path):
    model, files = loaded["llama"], (tmp_path / "encoder", tmp_path / "decoder")
    prepare(tiny.save_sae(tmp_path / "sae", "standard", width=48, d_in=16), *files, width=48, layer=LAYER)
    with pytest.raises(TesseraError, match=r"decoder: the SAE reads resid_post, a pass changes resid_pre$"):
        Latents(model, *files, (LAYER, "resid_pre"))
    small = Latents(model, *files, (LAYER, "resid_post"))
    with pytest.raises(TesseraError, match=r"^an intervention in 16 dimensions, and the model has 32 there$"):
        states(model, without(small))
