"""Labels made by a model: log-probabilities against a pass of one sequence at a time, and what goes wrong."""

import chats
import numpy as np
import polars as pl
import pytest
import tiny
import torch
from tessera.base.errors import TesseraError
from tessera.examples.prompts import load_prompts
from tessera.models.answers import _alike, _sequence, _tokenise, answer, joined

CAUSAL = ("llama", "gpt2", "gpt_neox", "gemma2")
PROMPTS = ["the cat sat", "a small dog ran over", "old birds sing in the red morning while", "rain"]
CHOICES = [["the hill", "a river"], ["moon", "the red house near"], ["rain falls", "mill"], ["and the moon", "sat"]]


def causal(architecture, folder, tokenizer=None, **changes):
    """A random causal model of the architecture, with its head, and its own tokenizer if no other is given."""
    tiny.save_model(architecture, folder, causal=True, tokenizer=tokenizer, max_position_embeddings=256)
    return tiny.load(folder, causal=True, **changes)


def prompts(**columns):
    size = len(PROMPTS)
    frame = {"id": [str(i) for i in range(size)], "text": PROMPTS, "choices": CHOICES, "names": [["a", "b"]] * size}
    return pl.DataFrame(frame | columns)


def mean_log_probability(model, ids, size):
    """Of the last `size` tokens, in a pass of their own."""
    with torch.inference_mode():
        logits = model.module(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    return np.mean([logits[place - 1, ids[place]].item() for place in range(len(ids) - size, len(ids))])


def direct(model, prompt, choice):
    """Mean log-probability of the choice's tokens, by hand: BOS, prompt, choice."""
    tokenizer = model.tokenizer
    ids = tokenizer(f"{prompt} {choice}", add_special_tokens=False)["input_ids"]
    if tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    return mean_log_probability(model, ids, len(choice.split()))  # a token per word


@pytest.mark.parametrize("architecture", CAUSAL)
@pytest.mark.parametrize("budget", [16, 4096])
def test_log_probabilities_are_those_of_a_pass_of_their_own(architecture, budget, tmp_path):
    model = causal(architecture, tmp_path)
    found = answer(model, prompts(), max_tokens=32, budget=budget)
    expected = [[direct(model, prompt, choice) for choice in row] for prompt, row in zip(PROMPTS, CHOICES, strict=True)]
    np.testing.assert_allclose(np.array(found["log_probability"].to_list()), expected, atol=2e-4)
    assert found["answer"].to_list() == ["ab"[int(np.argmax(row))] for row in expected]
    assert found["choice_tokens"].to_list() == [[len(choice.split()) for choice in row] for row in CHOICES]
    assert not found["cut"].any()
    assert "choices" not in found.columns


def test_the_right_choice_makes_correct_and_wrong(tmp_path):
    model = causal("llama", tmp_path)
    names = answer(model, prompts(), max_tokens=32)["answer"]
    right = [0, 1, 0, 1]
    found = answer(model, prompts(right=pl.Series(right)), max_tokens=32)
    assert found["answer"].to_list() == [
        "correct" if name == "ab"[one] else "wrong" for name, one in zip(names, right, strict=True)
    ]


def test_numbers_that_are_texts_too_are_refused(tmp_path):
    frame = pl.DataFrame({"prompt": ["a", "b"], "x": ["1", "0"], "y": ["2", "1"], "gold": ["1", "1"]})
    frame.write_parquet(tmp_path / "f.parquet")
    asked = {"model": "m", "choices": ["x", "y"], "correct": "gold"}
    with pytest.raises(TesseraError, match="could hold the numbers or the texts of the answers, which differ"):
        load_prompts("d", {"path": str(tmp_path / "f.parquet"), "text": "prompt", "answered": asked}, seed=0)


def test_other_columns_of_the_file_do_not_get_in_the_way(tmp_path):
    frame = pl.DataFrame({"prompt": ["a", "b"], "right": ["x", "y"], "wrong": ["z", "w"], "text": ["p", "p"]})
    frame.write_parquet(tmp_path / "f.parquet")
    spec = {
        "path": str(tmp_path / "f.parquet"),
        "text": "prompt",
        "answered": {"model": "m", "choices": ["right", "wrong"]},
    }
    found = load_prompts("d", spec, seed=0)
    assert found["text"].to_list() == ["a", "b"] and "right" not in found.columns
    with pytest.raises(TesseraError, match="the column 'text' needs another name"):
        load_prompts("d", {**spec, "group": "text"}, seed=0)


def test_one_bos_and_no_empty_parts(tmp_path):
    model = causal("llama", tmp_path)
    plain, marked = (_sequence(model, [], prompt, "rain") for prompt in ("the cat", "<s> the cat"))
    assert plain[0].tolist() == marked[0].tolist() and plain[1:] == marked[1:] == (3, (1, 3))
    with pytest.raises(TesseraError, match="has no token for this tokenizer"):
        _sequence(model, [], "the cat", " ")


def test_all_choices_of_a_prompt_see_the_same_of_it(tmp_path):
    model = causal("llama", tmp_path)
    choices = [["rain", "moon rain falls"]]
    sequences, starts, cut, content = _tokenise(model, ["old birds sing in the red morning"], choices, 7)
    prompts = [row[:start].tolist() for row, start in zip(sequences, starts, strict=True)]
    assert prompts[0] == prompts[1]
    assert cut.tolist() == [True, True]
    assert [np.flatnonzero(row).tolist() for row in content] == [[1, 2, 3]] * 2


def test_one_pass_for_sequences_that_are_alike_unless_other_tokens_are_the_prompts(tmp_path):
    model = causal("llama", tmp_path)
    sequences, _, _, content = _tokenise(model, ["the cat", "the"], [["sat", "ran"], ["cat moon"]], 32)
    assert _alike(sequences, None) == [[0, 1, 2]]
    assert _alike(sequences, content) == [[0, 1], [2]]


def test_a_long_prompt_loses_its_start_but_neither_bos_nor_choice(tmp_path):
    model = causal("llama", tmp_path)
    sequences, starts, cut, _ = _tokenise(model, ["old birds sing in the red morning while"], [["rain falls"]], 6)
    assert model.tokenizer.convert_ids_to_tokens(sequences[0]) == ["<s>", "red", "morning", "while", "rain", "falls"]
    assert (starts.tolist(), cut.tolist()) == ([4], [True])
    found = answer(model, prompts(), max_tokens=7)
    assert found["cut"].to_list() == [False, True, True, False]
    with pytest.raises(TesseraError, match="no room for its prompt in max_tokens, 3"):
        answer(model, prompts(), max_tokens=3)


@pytest.mark.parametrize("chat", chats.CHATS)
def test_a_chat_model_answers_in_its_template(chat, tmp_path):
    model = causal("llama", tmp_path, chats.make_tokenizer(chat), chat=True)
    *_, prefix, suffix = chats.CHATS[chat]
    found, expected, sizes = answer(model, prompts(), max_tokens=256, budget=400), [], []
    for prompt, row in zip(PROMPTS, CHOICES, strict=True):
        texts = ((prefix + prompt + suffix, choice) for choice in row)
        ids = [[model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in pair] for pair in texts]
        expected.append([mean_log_probability(model, front + back, len(back)) for front, back in ids])
        sizes.append([len(back) for _, back in ids])
    np.testing.assert_allclose(np.array(found["log_probability"].to_list()), expected, atol=2e-4)
    assert found["choice_tokens"].to_list() == sizes
    assert not found["cut"].any()


@pytest.mark.parametrize("chat", chats.CHATS)
def test_a_long_prompt_in_a_template_loses_the_start_of_its_text(chat, tmp_path):
    model = causal("llama", tmp_path, chats.make_tokenizer(chat), chat="Be terse." if chat != "gemma2" else True)
    text, choice = " ".join(["no"] * 30 + ["the sky"]), "yes"
    (whole,), (start,), *_ = _tokenise(model, [text], [[choice]], 512)
    (short,), (place,), (cut,), _ = _tokenise(model, [text], [[choice]], len(whole) - 20)
    front = len(model.tokenizer(model.chat.prefix, add_special_tokens=False)["input_ids"])
    assert short.tolist() == [*whole[:front], *whole[front + 20 :]] and place == start - 20 and cut
    back = len(model.tokenizer(model.chat.suffix + choice, add_special_tokens=False)["input_ids"])
    with pytest.raises(TesseraError, match=rf"'yes' leaves no room for its prompt in max_tokens, {front + back}$"):
        _tokenise(model, [text], [[choice]], front + back)


def test_a_template_that_ends_in_no_line_has_a_space_in_front_of_the_choice(tmp_path):
    model = causal("llama", tmp_path, chats.make_word_tokenizer(), chat=True)
    (ids,), (start,), *_ = _tokenise(model, ["the cat"], [["yes"]], 16)
    assert model.tokenizer.convert_ids_to_tokens(ids) == ["<s>", "[INST]", "▁the", "▁cat", "▁[/INST]", "▁yes"]
    assert start == 5


def test_one_space_between_prompt_and_choice():
    assert joined("Answer:", "yes") == joined("Answer: ", " yes") == ("Answer: yes", 7)
    assert joined("Question\n", "yes") == ("Question\nyes", 9)


FILE = pl.DataFrame(
    {
        "key": [f"k{i}" for i in range(40)],
        "prompt": [f"{PROMPTS[i % 4]} {i}" for i in range(40)],
        "good": ["the hill"] * 40,
        "same": ["the hill "] * 40,
        "bad": [f"moon {i}" for i in range(40)],
        "gold": ["good", "bad"] * 20,
        "number": ["0", "1"] * 20,
        "what": [("the hill", f"moon {i}")[i % 2] for i in range(40)],
        "mixed": ["good", "1"] * 20,
    }
)


def spec(tmp_path, **changes):
    FILE.write_parquet(tmp_path / "f.parquet")
    asked = {"model": "m", "choices": ["good", "bad"], **changes}
    return {"path": str(tmp_path / "f.parquet"), "text": "prompt", "label": "label", "id": "key", "answered": asked}


def test_prompts_keep_their_columns_and_gain_choices(tmp_path):
    found = load_prompts("d", spec(tmp_path, correct="gold"), seed=0)
    assert found["choices"].to_list()[1] == ["the hill", "moon 1"]
    for column in ("gold", "number", "what"):
        right = load_prompts("d", spec(tmp_path, correct=column), seed=0)["right"]
        assert right.to_list() == [0, 1] * 20
    assert found["id"].to_list() == FILE["key"].to_list()
    assert set(found.columns) == {"id", "text", "prompt", "choices", "names", "right"}
    fixed = load_prompts("d", spec(tmp_path) | {"answered": {"model": "m", "answers": ["yes", "no"]}}, seed=0)
    assert fixed["choices"].to_list() == [["yes", "no"]] * 40


def test_a_sample_is_the_same_whatever_the_order_of_the_rows(tmp_path):
    whole = spec(tmp_path) | {"max_examples": 10}
    first = load_prompts("d", whole, seed=0)
    FILE.reverse().write_parquet(tmp_path / "f.parquet")
    assert len(first) == 10
    assert sorted(load_prompts("d", whole, seed=0)["id"]) == sorted(first["id"])
    assert sorted(load_prompts("d", whole, seed=1)["id"]) != sorted(first["id"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": ["good", "nowhere"]}, "answered.choices: no column 'nowhere'"),
        ({"correct": "nowhere"}, "answered.correct: no column 'nowhere'"),
        ({"correct": "key"}, "answered.correct: row 0 has none of good, bad"),
        ({"correct": "mixed"}, "answered.correct: row"),
        ({"choices": ["good", "same"]}, "answered.choices: row 0 has two answers of the same text"),
    ],
)
def test_wrong_columns_end_in_one_line(tmp_path, changes, message):
    with pytest.raises(TesseraError) as raised:
        load_prompts("d", spec(tmp_path, **changes), seed=0)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
