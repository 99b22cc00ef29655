"""Published SAEs are found offline in SAELens' directory, and what they need beyond raw activations is applied."""

import numpy as np
import pytest
import tiny
import torch
from tessera.base.errors import TesseraError
from tessera.models.forward import catch
from tessera.models.text import tokenise
from tessera.saes.encoders import Scratch, load_encoder
from tessera.saes.preparing import prepare
from tessera.study import releases

GEMMA = {"release": "gemma-scope-2b-pt-res", "id": "layer_{layer}/width_{width}/average_l0_{l0}"}
GEMMA_2 = {"release": "gemma-scope-2-4b-pt-res", "id": "layer_{layer}_width_{width}_l0_{l0}"}


@pytest.mark.parametrize(
    ("recipe", "layer", "width", "expected"),
    [
        (
            {"release": "gemma-scope-2b-pt-res-canonical", "id": "layer_{layer}/width_{width}/canonical"},
            "12",
            "65k",
            None,
        ),
        ({**GEMMA, "l0": "nearest:70"}, "12", "16k", 82),
        ({**GEMMA, "l0": 82}, "12", "16k", 82),
        ({"release": "gpt2-small-res-jb", "id": "blocks.{layer}.hook_resid_pre"}, "7", "24k", None),
        ({"release": "llama_scope_lxr_8x", "id": "l{layer}r_8x"}, "20", "32k", 50),
    ],
)
def test_an_id_is_found(recipe, layer, width, expected):
    sae, l0 = releases.find(recipe, layer, width)
    assert sae in {str(entry["id"]) for entry in releases.directory()[recipe["release"]]["saes"]}
    if expected:
        assert l0 == expected


@pytest.mark.parametrize(
    ("recipe", "layer", "expected"),
    [
        ({**GEMMA, "l0": "canonical"}, "12", "layer_12/width_16k/average_l0_82"),
        ({**GEMMA, "l0": 41}, "12", "layer_12/width_16k/average_l0_41"),
        ({**GEMMA_2, "l0": "big"}, "17", "layer_17_width_16k_l0_big"),
        ({**GEMMA_2, "l0": "nearest:1"}, "17", "layer_17_width_16k_l0_small"),  # 20
        ({**GEMMA_2, "l0": "nearest:105"}, "17", "layer_17_width_16k_l0_medium"),  # 60, as far off as 150
        ({**GEMMA_2, "l0": "nearest:106"}, "17", "layer_17_width_16k_l0_big"),  # 150
    ],
)
def test_l0_picks_one_of_several(recipe, layer, expected):
    published = {entry["id"]: entry.get("l0") for entry in releases.directory()[recipe["release"]]["saes"]}
    assert releases.find(recipe, layer, "16k") == (expected, published[expected])


def test_canonical_is_the_release_of_canonical_saes():
    canonical = releases.directory()["gemma-scope-2b-pt-res-canonical"]["saes"]
    paths = {entry["id"]: entry["path"] for entry in canonical}
    found = [releases.find({**GEMMA, "l0": "canonical"}, str(layer), "65k")[0] for layer in range(26)]
    assert found == [paths[f"layer_{layer}/width_65k/canonical"] for layer in range(26)]


def test_nearest_is_the_nearest():
    ids = [entry["id"] for entry in releases.directory()["gemma-scope-2b-pt-res"]["saes"]]
    there = [int(sae.rsplit("_", 1)[1]) for sae in ids if sae.startswith("layer_12/width_16k/")]
    for target in (1, 30, 100, 1000):
        _, l0 = releases.find({**GEMMA, "l0": f"nearest:{target}"}, "12", "16k")
        assert abs(l0 - target) == min(abs(other - target) for other in there)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"release": "gemma-scope-2b-pt-rez", "id": "x"},
            "no release 'gemma-scope-2b-pt-rez'; the nearest: gemma-scope-2b",
        ),
        (
            {**GEMMA, "l0": 83},
            "no SAE 'layer_12/width_16k/average_l0_83'; the nearest: .*average_l0_82",
        ),
        (
            {**GEMMA, "id": "layer_{layer}/width_17k/average_l0_{l0}", "l0": "nearest:70"},
            "no SAE 'layer_12/width_17k/average_l0_70'; the nearest: .*width_16k/average_l0",
        ),
        (
            {**GEMMA_2, "id": "layer_17_width_16k_l0_{l0}", "l0": "canonical"},
            "'gemma-scope-2-4b-pt-res' has no canonical SAE 'layer_17_width_16k_l0_{l0}'; "
            "say l0: nearest:<number> or one of big, medium, small$",
        ),
        (
            {"release": "gpt2-small-res-jb", "id": "blocks.{layer+1}.hook_resid_pre"},
            r"no SAE 'blocks\.\{layer\+1\}\.hook_resid_pre'; the nearest: blocks\.",
        ),
    ],
)
def test_an_id_that_is_not_there(recipe, message):
    with pytest.raises(TesseraError, match=message) as caught:
        releases.find(recipe, "12", "16k")
    assert "\n" not in str(caught.value)


def test_centred_weights_are_centred_residuals(tmp_path):
    """GPT-2 with centre_writing_weights by hand gives the residuals that our encoder centres at run time."""
    model = tiny.load(tiny.save_model("gpt2", tmp_path / "gpt2"))
    tokens = tokenise(model, tiny.TEXTS, 32)
    raw = catch(model, tokens, np.arange(len(tiny.TEXTS)), {2: "resid_post"}).states[2]
    with torch.no_grad():
        for embedding in (model.module.wte, model.module.wpe):
            embedding.weight -= embedding.weight.mean(dim=-1, keepdim=True)
        for block in model.blocks:
            for writer in (block.attn.c_proj, block.mlp.c_proj):  # Conv1D: [in, out]
                writer.weight -= writer.weight.mean(dim=-1, keepdim=True)
                writer.bias -= writer.bias.mean()
    centred = catch(model, tokens, np.arange(len(tiny.TEXTS)), {2: "resid_post"}).states[2]
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=96)
    plain, own = tmp_path / "plain", tmp_path / "own"
    prepare(folder, plain, tmp_path / "decoder", width=96, layer=2)
    text = (folder / "cfg.json").read_text()
    (folder / "cfg.json").write_text(
        text.replace('"metadata": {', '"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": true}, ')
    )
    assert prepare(folder, own, tmp_path / "decoder", width=96, layer=2)["centre"]
    expected = load_encoder(plain, Scratch(torch.device("cpu"))).encode(centred[0])
    found = load_encoder(own, Scratch(torch.device("cpu"))).encode(raw[0])
    assert (found.counts_N == expected.counts_N).all() and (found.latents == expected.latents).all()
    torch.testing.assert_close(torch.from_numpy(found.values), torch.from_numpy(expected.values), rtol=1e-4, atol=1e-5)
    different = load_encoder(plain, Scratch(torch.device("cpu"))).encode(raw[0])
    assert (different.counts_N != expected.counts_N).any()
