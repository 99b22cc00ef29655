"""BOS in front of a text: where the model is causal and nothing else puts it there."""

import chats
import numpy as np
import pytest
import tiny
import torch
from tessera.base.errors import TesseraError
from tessera.models import bos
from tessera.models.forward import catch
from tessera.models.loading import load_model
from transformers import AutoModel

BOS = "<|endoftext|>"


def save(architecture, folder, **changes):
    """A model whose tokenizer has a BOS token, and does not put it in front."""
    tiny.save_model(architecture, folder, **changes)
    tokenizer = tiny.make_tokenizer("gpt2")
    tokenizer.bos_token = BOS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", tiny.ROLES)
@pytest.mark.parametrize("scale", [0.2, 0.02])
def test_only_causal_models_get_one(architecture, scale, tmp_path):
    model = tiny.load(save(architecture, tmp_path, initializer_range=scale))
    assert bos.is_causal(model) == (architecture != "bert")
    assert model.bos == ([] if architecture == "bert" else [model.tokenizer.bos_token_id])
    control = {**tiny.model_spec(tmp_path), "control_of": "small"}
    assert load_model(tiny.identity(control, tiny.model_spec(tmp_path), seed=1), depth=1).bos == model.bos


def test_causality_does_not_hang_on_the_precision(tmp_path):
    for architecture in ("bert", "llama", "gpt2"):
        model = tiny.load(save(architecture, tmp_path / architecture), dtype="bfloat16")
        assert bos.is_causal(model) == (architecture != "bert")


def test_it_is_not_asked_where_it_does_not_matter(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(bos, "is_causal", pytest.fail)
    assert [tiny.load(folders[name]).bos for name in tiny.ARCHITECTURES] == [[]] * len(tiny.ARCHITECTURES)
    causal = save("gpt2", tmp_path)
    assert tiny.load(causal, prepend_bos=False).bos == []
    assert tiny.load(causal, prepend_bos=True).bos == [tiny.make_tokenizer("gpt2").eos_token_id]
    tokenizer = chats.make_tokenizer("smollm2")
    tokenizer.save_pretrained(tiny.save_model("gpt2", tmp_path / "chat", vocab_size=len(tokenizer)))
    assert tiny.load(tmp_path / "chat", chat=True).bos == []


def test_it_stands_in_front_and_is_no_content(tmp_path):
    save("gpt2", tmp_path)
    plain, asked = (tiny.load(tmp_path, prepend_bos=value) for value in (False, "auto"))
    whole, short = plain.read(tiny.TEXTS, max_tokens=32), asked.read(tiny.TEXTS, max_tokens=5)
    for row, ids, content in zip(whole.ids, short.ids, short.content, strict=True):
        assert ids.tolist() == [asked.tokenizer.bos_token_id, *row[:4]]
        assert content.tolist() == [False] + [True] * (len(ids) - 1)
    assert short.truncated.tolist() == [len(text.split()) > 4 for text in tiny.TEXTS]


def test_states_are_those_of_transformers(tmp_path):
    model = tiny.load(save("gpt2", tmp_path))
    batch = catch(model, model.read(tiny.TEXTS, max_tokens=32), np.arange(len(tiny.TEXTS)), {2: "resid_post"})
    plain = AutoModel.from_pretrained(tmp_path).eval()
    for text, state in zip(tiny.TEXTS, batch.states[2], strict=True):
        ids = torch.tensor([model.tokenizer(f"{BOS} {text}")["input_ids"]])
        with torch.inference_mode():
            expected = plain(ids, output_hidden_states=True).hidden_states[3][0]
        torch.testing.assert_close(state[: ids.shape[1]], expected, atol=2e-5, rtol=1e-4)


def test_asking_for_one_that_is_not_there_is_an_error(folders):
    with pytest.raises(TesseraError, match=r"^config key models\.small\.prepend_bos: the tokenizer has no BOS token"):
        tiny.load(folders["gpt2"], prepend_bos=True)


@pytest.mark.parametrize("chat", ["gemma2", "llama3", "smollm2"])
def test_a_template_that_begins_with_it_gets_no_other(chat, tmp_path):
    tokenizer = chats.make_tokenizer(chat)
    tokenizer.save_pretrained(tiny.save_model("llama", tmp_path, vocab_size=len(tokenizer)))
    assert tiny.load(tmp_path, chat=True, prepend_bos=True).bos == []


def test_a_template_without_it_gets_one_if_asked(tmp_path):
    tokenizer = chats.make_tokenizer("gemma2")
    tokenizer.chat_template = tokenizer.chat_template.removeprefix("{{ bos_token }}")
    tokenizer.save_pretrained(tiny.save_model("llama", tmp_path, vocab_size=len(tokenizer)))
    bare, asked = (tiny.load(tmp_path, chat=True, prepend_bos=value) for value in ("auto", True))
    (ids,), (row,) = (model.read(["the sky"], max_tokens=32).ids for model in (bare, asked))
    assert row.tolist() == [tokenizer.bos_token_id, *ids] and ids[0] != tokenizer.bos_token_id
    tokens = asked.read(["the sky " * 20], max_tokens=16)
    assert len(tokens.ids[0]) == 16 and tokens.truncated.all() and tokens.ids[0][0] == tokenizer.bos_token_id
    assert tokenizer.decode(tokens.ids[0][tokens.content[0]]).startswith("the sky the")
