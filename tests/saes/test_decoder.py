"""Prepared decoders equal SAELens', and say why latents cannot be taken out where they cannot."""

import json

import pytest
import tiny
import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file
from tessera.base.errors import TesseraError
from tessera.saes.decoders import load_decoder
from tessera.saes.encoders import Scratch, load_encoder
from tessera.saes.preparing import prepare

WIDTH = 96
CPU = torch.device("cpu")
STATES = torch.randn(40, tiny.HIDDEN, generator=torch.Generator().manual_seed(1)) * 3 + 0.5


def prepared(folder):
    files = folder.parent / "encoder", folder.parent / "decoder"
    prepare(folder, *files, width=WIDTH, layer=1)
    return files


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("jumprelu", {}),
        ("standard", {"normalize_activations": "layer_norm"}),
        ("gated", {"normalize_activations": "constant_norm_rescale"}),
        ("topk", {"k": 5}),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    ],
)
@torch.inference_mode()
def test_a_latent_adds_its_row_times_the_scale(tmp_path, architecture, options):
    folder = tiny.save_sae(tmp_path / "sae", architecture, width=WIDTH, **options)
    encoder, decoder = prepared(folder)
    sae, decoder = SAE.load_from_disk(folder), load_decoder(decoder, CPU)
    assert decoder.W_WD.dtype == torch.float32 and decoder.W_WD.shape == (WIDTH, tiny.HIDDEN)
    acts = sae.encode(STATES)
    whole = sae.decode(acts)
    sae.encode(STATES)  # decoding uses up the norms
    added = whole - sae.decode(torch.zeros_like(acts))
    found = load_encoder(encoder, Scratch(CPU)).output_scale(STATES) * (acts @ decoder.W_WD)
    torch.testing.assert_close(found, added, rtol=1e-5, atol=1e-5)


def test_what_the_file_says_of_itself(tmp_path):
    folder = tiny.save_sae(tmp_path / "sae", "jumprelu", width=WIDTH)
    said = {"hook": "resid_post", "architecture": "jumprelu", "normalize_activations": "none", "why_not": None}
    assert load_decoder(prepared(folder)[1], CPU).about == {**said, "neuronpedia": None, "in_stream": True}
    tiny.change_sae(folder, metadata={"neuronpedia_id": "gemma-2-2b/1-gemmascope-res-16k"})
    assert load_decoder(prepared(folder)[1], CPU).about["neuronpedia"] == "gemma-2-2b/1-gemmascope-res-16k"
    tiny.change_sae(folder, metadata={"neuronpedia_id": 3})
    with pytest.raises(TesseraError, match=r"sae: neuronpedia_id in cfg\.json is 3$"):
        prepared(folder)


@pytest.mark.parametrize("architecture", tiny.RARE)
def test_a_rare_architecture_says_why_not(tmp_path, architecture):
    folder = tiny.save_rare_sae(tmp_path / "sae", architecture, width=WIDTH)
    decoder = load_decoder(prepared(folder)[1], CPU)
    assert decoder.about["why_not"].startswith(f"a {architecture} SAE is encoded by SAELens itself")
    assert json.loads((folder / "cfg.json").read_text())["architecture"] == decoder.about["architecture"]
    assert (decoder.W_WD is None) == ("transcoder" in architecture)


@pytest.mark.parametrize("kind", ["missing", "of another size", "not finite"])
def test_a_decoder_that_is_not_there_is_refused(tmp_path, kind):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=WIDTH)
    tensors = load_file(folder / "sae_weights.safetensors")
    match kind:
        case "missing":
            del tensors["W_dec"]
        case "of another size":
            tensors["W_dec"] = tensors["W_dec"][:, 1:].contiguous()
        case "not finite":
            tensors["W_dec"][3] = torch.nan
    save_file(tensors, folder / "sae_weights.safetensors")
    with pytest.raises(TesseraError, match=rf"^\S+sae: tensor W_dec .*{kind}") as caught:
        prepared(folder)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]
