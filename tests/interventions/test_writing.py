"""The tokens that directions promote and suppress: against the whole model, and what is read for it."""

import json

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tessera.base.errors import TesseraError
from tessera.interventions import writing
from tessera.interventions.writing import writes
from transformers import AutoModelForCausalLM, AutoTokenizer

CAUSAL = ("llama", "gemma2", "gpt2", "gpt_neox", "olmo2")
ROWS = torch.randn(6, tiny.HIDDEN, generator=torch.Generator().manual_seed(0))


def saved(architecture, folder, tied):
    """A causal model's folder, its norms random."""
    tiny.save_model(architecture, folder, causal=True, tie_word_embeddings=tied)
    file, generator = folder / "model.safetensors", torch.Generator().manual_seed(1)
    tensors = {
        name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) if tensor.ndim == 1 else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@torch.inference_mode()
def by_the_whole_model(folder):
    """Logits [N, V] of a residual stream that is one of ROWS in front of the final norm, less those of zeros."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    base = model.base_model
    norm = next(getattr(base, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(base, name))
    both = [model.get_output_embeddings()(norm(state)) for state in (ROWS, torch.zeros_like(ROWS))]
    return both[0] - both[1]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("architecture", CAUSAL)
def test_tokens_are_those_of_the_whole_model(tmp_path, architecture, tied):
    folder = saved(architecture, tmp_path / "model", tied)
    found, reason = writes(ROWS, folder, "resid_post", top=4)
    logits_NV, tokenizer = by_the_whole_model(folder), AutoTokenizer.from_pretrained(folder)
    assert reason is None and found["latent_row"].to_list() == list(range(len(ROWS)))
    for tokens, logits, largest in (("promoted", "promoted_logit", True), ("suppressed", "suppressed_logit", False)):
        expected = logits_NV.topk(4, largest=largest)
        torch.testing.assert_close(torch.tensor(found[logits].to_list()), expected.values, rtol=1e-4, atol=1e-5)
        assert found[tokens].to_list() == [[tokenizer.decode([one]) for one in row] for row in expected.indices]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("architecture", "number"), [("llama", 2), ("gemma2", 2), ("gpt2", 3), ("gpt_neox", 3)])
def test_only_norm_and_unembedding_are_read(tmp_path, monkeypatch, architecture, number, tied):
    """A LayerNorm has weight and bias."""
    folder, read = saved(architecture, tmp_path / "model", tied), []

    class Watched:
        def __init__(self, *arguments):
            self.file = real(*arguments)

        def __enter__(self):
            self.opened = self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def keys(self):
            return self.opened.keys()

        def get_tensor(self, name):
            read.append(name)
            return self.opened.get_tensor(name)

    real = writing.safe_open
    monkeypatch.setattr(writing, "safe_open", Watched)
    assert writes(ROWS, folder, "resid_pre")[1] is None
    assert len(read) == number and sum(load_file(folder / "model.safetensors")[name].ndim for name in read) < 5


def test_shards_and_names_without_the_prefix_of_the_base_model(tmp_path):
    """As the hub has them: GPT-2's tensors are named as those of a model without a head."""
    folder = saved("gpt2", tmp_path / "model", True)
    whole, _ = writes(ROWS, folder, "resid_post")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors, places = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}, {}
    for number, (name, tensor) in enumerate(tensors.items()):
        places[name] = f"model-{number}.safetensors"
        save_file({name: tensor}, folder / places[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert writes(ROWS, folder, "resid_post")[0].equals(whole)


def test_chunks_give_what_all_rows_together_give(tmp_path, monkeypatch):
    folder = saved("llama", tmp_path / "model", False)
    whole, _ = writes(ROWS, folder, "mlp_out", top=1000)
    assert whole["promoted"].list.len().unique().to_list() == [len(tiny.make_tokenizer("llama"))]
    monkeypatch.setattr(writing, "LOGITS_AT_ONCE", 1)
    found, _ = writes(ROWS, folder, "mlp_out", top=3)
    assert found["promoted"].equals(whole["promoted"].list.head(3))


def test_what_writes_no_tokens_says_why(tmp_path):
    llama = saved("llama", tmp_path / "llama", False)
    assert writes(ROWS, llama, "z") == (
        None,
        "z is not in the space of the residual stream, which the unembedding reads",
    )
    for architecture, name in (("bert", "BertModel"), ("llama", "LlamaModel")):
        folder = tiny.save_model(architecture, tmp_path / name)
        assert writes(ROWS, folder, "resid_post") == (None, f"a model of architecture {name} predicts no next token")


def test_weights_that_are_not_there_are_an_error(tmp_path):
    folder = saved("llama", tmp_path / "model", False)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(TesseraError, match=r"model: the weights lack lm_head\.weight, so tokens cannot be told"):
        writes(ROWS, folder, "resid_post")
    (folder / "model.safetensors").unlink()
    with pytest.raises(TesseraError, match=r"model has no readable safetensors weights"):
        writes(ROWS, folder, "resid_post")
