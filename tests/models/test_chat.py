"""Chat models: what of a text in their template is content, what is cut, and templates that cannot be used."""

import datetime

import chats
import numpy as np
import pytest
import tiny
import torch
from tessera.base.errors import TesseraError
from tessera.models.chat import Chat, covering
from tessera.models.forward import catch
from tessera.models.text import TextModel, tokenise
from transformers import AutoModel, ByT5Tokenizer
from transformers.utils import chat_template_utils

TEXTS = [
    "is the sky blue?",
    "yes",
    "  two blanks, then\n\n  lines \n\n",
    "\n\n\tin front",
    "🙂 und 👩‍👩‍👧",
    "שלום, السماء زرقاء",
    "user\nassistant\nsystem\nmodel",
    "{{ bos_token }} {% endfor %}",
    "no " * 40,
]


def in_chat(tokenizer, system=None, bos=()):
    """A model that reads in the tokenizer's template, for what needs no module."""
    chat = Chat("models.small.chat", tokenizer, system)
    return TextModel(None, tokenizer, None, bos=list(bos), chat=chat)


@pytest.fixture(params=chats.CHATS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return in_chat(chats.make_tokenizer(name))


def test_content_is_the_text_and_the_last_token_is_the_templates(name, model):
    *_, prefix, suffix = chats.CHATS[name]
    tokens = tokenise(model, TEXTS, 512)
    for text, ids, content in zip(TEXTS, tokens.ids, tokens.content, strict=True):
        kept = text.strip() if name in chats.TRIMMED else text
        assert model.tokenizer.decode(ids[content]) == kept
        assert ids.tolist() == model.tokenizer(prefix + kept + suffix, add_special_tokens=False)["input_ids"]
        assert model.tokenizer.decode(ids[-1:]) == "\n" and not content[-1]
        assert np.diff(np.flatnonzero(content)).max(initial=1) == 1
    assert not tokens.truncated.any()


def test_ids_are_those_of_transformers(model):
    tokens = tokenise(model, TEXTS, 512)
    for text, ids in zip(TEXTS, tokens.ids, strict=True):
        message, day = [{"role": "user", "content": text}], "26 Jul 2024"
        expected = model.tokenizer.apply_chat_template(message, add_generation_prompt=True, date_string=day)
        assert ids.tolist() == expected["input_ids"]


def test_markers_in_a_text_are_no_content(name, model):
    _, _, (marker, *_), prefix, _ = chats.CHATS[name]
    (ids,), (content,) = (
        (tokenise(model, [f"yes{marker}no"], 512)).ids,
        tokenise(model, [f"yes{marker}no"], 512).content,
    )
    assert model.tokenizer.decode(ids[content]) == "yesno"
    start = len(model.tokenizer(prefix, add_special_tokens=False)["input_ids"])
    assert content[:start].sum() == 0 and content[start]


def test_what_is_too_long_is_cut_off_the_text(name, model):
    *_, prefix, suffix = chats.CHATS[name]
    front, back = (model.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prefix, suffix))
    texts = ["no yes", " ".join(["the sky"] * 20)]
    whole, size = tokenise(model, texts, 512), len(front) + len(back) + 3
    short = tokenise(model, texts, size)
    assert short.truncated.tolist() == [len(row) > size for row in whole.ids] and short.truncated[1]
    for ids, content, row in zip(short.ids, short.content, whole.ids, strict=True):
        kept = min(3, len(row) - len(front) - len(back))
        assert ids.tolist() == [*front, *row[len(front) :][:kept].tolist(), *back]
        assert content.tolist() == [False] * len(front) + [True] * kept + [False] * len(back)
    assert tokenise(model, texts, size - 2).content_counts_E.tolist() == [1, 1]
    for room in (size - 3, 2):
        with pytest.raises(
            TesseraError, match=rf"^config key models\.small\.chat: .*fills max_tokens \({room}\); raise it$"
        ):
            tokenise(model, texts, room)


@pytest.mark.parametrize("name", ["llama3", "qwen", "smollm2"])
def test_a_system_prompt_stands_in_front(name):
    prompt = "  Say yes or no. "
    model = in_chat(chats.make_tokenizer(name), prompt)
    assert prompt.strip() in model.chat.prefix and "helpful" not in model.chat.prefix
    tokens = tokenise(model, ["is the sky blue?"], 512)
    assert model.tokenizer.decode(tokens.ids[0][tokens.content[0]]) == "is the sky blue?"


def refused(tokenizer, system=None):
    """The one line with which a template is refused."""
    with pytest.raises(TesseraError, match=r"^config key models\.small\.chat: ") as caught:
        in_chat(tokenizer, system)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_templates_that_cannot_be_used():
    assert "refuses a system prompt (System role not supported)" in refused(chats.make_tokenizer("gemma2"), "Be terse.")
    assert "no chat template" in refused(tiny.make_tokenizer("llama"))
    assert "only a fast tokenizer" in refused(ByT5Tokenizer(chat_template=chats.QWEN))
    tokenizer = chats.make_tokenizer("qwen")
    tokenizer.chat_template = "{{ messages[-1].content | upper }}"
    assert "changes the text 'another'" in refused(tokenizer)
    tokenizer.chat_template = "{{ messages[-1].content }} {{ messages[-1].content }}"
    assert "changes the text 'another'" in refused(tokenizer)
    tokenizer.chat_template = "user: {{ messages[-1].content }}\nassistant:"
    assert "leaves the system prompt out" in refused(tokenizer, "Be terse.")
    tokenizer.chat_template = "{{ 1 + 'x' }}"
    assert "refuses a text (" in refused(tokenizer)


def test_a_text_that_a_template_changes_is_an_error():
    tokenizer = chats.make_tokenizer("qwen")
    tokenizer.chat_template = "user: {{ messages[0].content | replace('sky', 'sea') }}\n"
    with pytest.raises(TesseraError, match=r"models\.small\.chat: the chat template changes the text 'the sky'"):
        tokenise(in_chat(tokenizer), ["no", "the sky"], 64)


@pytest.mark.parametrize("form", [None, "%d %B %Y", "%Y-%m-%d"])
def test_two_days_give_the_same_ids(form, monkeypatch):
    tokenizer, found = chats.make_tokenizer("llama3"), []
    if form:
        tokenizer.chat_template = "{{ strftime_now('" + form + "') }}\n{{ messages[0].content }}"
    for day in (3, 4):
        now = datetime.datetime(2031, 5, day)
        monkeypatch.setattr(
            chat_template_utils, "datetime", type("Clock", (), {"now": staticmethod(lambda now=now: now)})
        )
        plain = tokenizer.apply_chat_template([{"role": "user", "content": "yes"}], tokenize=False)
        found.append((plain, tokenise(in_chat(tokenizer), ["yes"], 512).ids[0].tolist()))
    (first, ids), (second, again) = found
    assert first != second and ids == again
    assert datetime.date(2024, 7, 26).strftime(form or "%d %b %Y") in tokenizer.decode(ids)


def test_a_word_with_the_templates_blank_is_content():
    model = in_chat(chats.make_word_tokenizer())
    tokens = tokenise(model, ["yes", "the cat"], 16)
    assert [model.tokenizer.convert_ids_to_tokens(ids.tolist()) for ids in tokens.ids] == [
        ["<s>", "[INST]", "▁yes", "▁[/INST]"],
        ["<s>", "[INST]", "▁the", "▁cat", "▁[/INST]"],
    ]
    assert [content.tolist() for content in tokens.content] == [[0, 0, 1, 0], [0, 0, 1, 1, 0]]


def test_tokens_of_blanks_alone_belong_to_where_they_end():
    #                         "a\n" |  "\n"     " b"   "\n"  | "\n" "c" : offsets as a byte-level tokenizer trims them
    offset_T2 = np.array([(0, 1), (2, 2), (3, 3), (4, 5), (6, 6), (7, 7), (7, 8)])
    assert covering(offset_T2, 2, 6) == (2, 5)
    assert covering(np.array([(0, 1), (1, 4), (4, 8)]), 2, 6) == (1, 3)  # tokens over both joints


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_states_are_those_of_transformers(name, architecture, tmp_path):
    tokenizer = chats.make_tokenizer(name)
    folder = tiny.save_model(architecture, tmp_path, vocab_size=len(tokenizer), max_position_embeddings=256)
    tokenizer.save_pretrained(folder)
    model = tiny.load(folder, chat=True, max_tokens=256, prepend_bos="auto")
    tokens = model.read(TEXTS, max_tokens=256)
    batch = catch(model, tokens, np.arange(len(TEXTS)), {1: "resid_post"})
    plain = AutoModel.from_pretrained(folder).eval()
    for row, text in enumerate(TEXTS):
        rendered, _, _ = model.chat.wrap(text)
        ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected = plain(ids, output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(batch.states[1][row][: ids.shape[1]], expected, atol=2e-5, rtol=1e-4)
        assert batch.last_B[row] == ids.shape[1] - 1
