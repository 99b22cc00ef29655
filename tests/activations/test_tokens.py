"""tokens.parquet: what the content tokens of a shard are, and where they stand in its texts and images."""

import chats
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tiny
from tessera.activations import shards
from tessera.activations.extraction import extract
from tessera.activations.shards import tokens_tables
from tessera.base.files import write_parts
from tessera.matching import alignment
from tessera.models.chat import Chat
from tessera.models.text import TextModel, Tokens, tokenise
from tessera.saes.preparing import prepare
from tokenizers import normalizers
from transformers import ByT5Tokenizer

UNICODE = [
    "🙂 und 👩‍👩‍👧",
    "cafe\u0301 naïve",
    "שלום, السماء زرقاء",
    "日本語 ok",
    "  two blanks \n\n lines \n",
    "\n\n\tin front",
]


def table(tokens, numbers=None):
    """All rows that a shard's file of tokens has."""
    numbers = np.arange(len(tokens.ids)) if numbers is None else numbers
    return pl.concat([pl.DataFrame(part) for part in tokens_tables(tokens, numbers)])


def surfaces(texts, rows):
    """What each text says from start to end of its tokens."""
    found = [[] for _ in texts]
    for example, start, end in rows.select("example", "start", "end").iter_rows():
        assert start <= end <= len(texts[example])
        found[example].append(texts[example][start:end])
    return found


def plain(tokenizer, **options):
    """A model of texts, for what needs no module."""
    return TextModel(None, tokenizer, None, **options)


# Texts


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("bos", [False, True])
def test_a_word_stands_where_its_token_says(architecture, bos):
    tokenizer = tiny.make_tokenizer(architecture)
    model = plain(tokenizer, bos=[tokenizer.all_special_ids[0]] if bos else [])
    texts = [f" {text.replace(' ', '  ')}" for text in tiny.TEXTS]
    rows = table(tokenise(model, texts, 32))
    assert surfaces(texts, rows) == [text.split() for text in texts]
    assert rows.columns == ["example", "position", "token_id", "start", "end"]
    assert set(rows.dtypes) == {pl.UInt32}
    words = [word for text in texts for word in text.split()]
    assert rows["token_id"].to_list() == tokenizer.convert_tokens_to_ids(words)


def test_a_special_token_in_a_text_has_no_row():
    text = "the cat <eos> sat"
    rows = table(tokenise(plain(tiny.make_tokenizer("gemma2")), [text], 32))
    assert surfaces([text], rows) == [["the", "cat", "sat"]]
    assert rows["position"].to_list() == [0, 1, 2]


def test_a_cut_text_keeps_its_first_words():
    rows = table(tokenise(plain(tiny.make_tokenizer("bert")), tiny.TEXTS, 7))
    assert surfaces(tiny.TEXTS, rows) == [text.split()[:5] for text in tiny.TEXTS]


def test_offsets_are_of_the_text_as_it_was_before_a_normalizer():
    tokenizer = tiny.make_tokenizer("bert")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    texts = ["thé cat", "a the\u0301 moon"]  # an accent of its own that is taken away belongs to no word
    assert surfaces(texts, table(tokenise(plain(tokenizer), texts, 32))) == [["thé", "cat"], ["a", "the", "moon"]]


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("name", chats.CHATS)
def test_bytes_of_a_character_share_its_place(name, chat):
    tokenizer = chats.make_tokenizer(name)
    model = plain(tokenizer, chat=Chat("models.small.chat", tokenizer) if chat else None)
    tokens = tokenise(model, UNICODE, 512)
    kept = [text.strip() if chat and name in chats.TRIMMED else text for text in UNICODE]
    assert [tokenizer.decode(ids[mask]) for ids, mask in zip(tokens.ids, tokens.content, strict=True)] == kept
    for example, text in enumerate(UNICODE):
        rows = table(tokens).filter(example=example)
        assert rows["end"].is_sorted() and rows["end"].max() <= len(text)
        said = {place for start, end in rows.select("start", "end").iter_rows() for place in range(start, end)}
        assert said >= {place for place, character in enumerate(text) if not character.isspace()}
    assert surfaces(UNICODE, table(tokens))[0][:4] == ["🙂"] * 4  # its four bytes


# In a chat template


@pytest.mark.parametrize("name", chats.CHATS)
def test_offsets_in_a_template_are_of_the_text(name):
    tokenizer, texts = chats.make_tokenizer(name), ["is the sky blue?", "  yes, no ", "the cat " * 20]
    alone, wrapped = plain(tokenizer), plain(tokenizer, chat=Chat("models.small.chat", tokenizer))
    front, back = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in chats.CHATS[name][3:])
    whole, cut = (table(tokenise(wrapped, texts, size)) for size in (512, len(front) + len(back) + 3))
    expected = surfaces(texts, table(tokenise(alone, texts, 512)))
    assert [[*filter(None, row)] for row in surfaces(texts, whole)] == [[*filter(None, row)] for row in expected]
    first = whole.filter(pl.col("position") < 3)
    assert cut.equals(first)


def test_a_word_with_the_templates_blank_begins_with_the_text():
    tokenizer = chats.make_word_tokenizer()
    texts = ["yes", "the cat"]
    rows = table(tokenise(plain(tokenizer, chat=Chat("models.small.chat", tokenizer)), texts, 16))
    assert surfaces(texts, rows) == [["yes"], ["the", " cat"]]


# Slow tokenizers


def test_a_slow_tokenizer_gives_pieces():
    texts = ["ab é", "\x00b"]
    rows = table(tokenise(plain(ByT5Tokenizer()), texts, 32))
    assert rows.columns == ["example", "position", "token_id", "piece"]
    assert rows["piece"].to_list() == [chr(byte) for text in texts for byte in text.encode()]
    assert rows["position"].to_list() == [*range(5), *range(2)]


# The file


def test_an_example_is_whole_in_its_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "TOKENS_TOGETHER", 20)
    tokens, file = tokenise(plain(tiny.make_tokenizer("bert")), tiny.TEXTS * 9, 32), tmp_path / "tokens.parquet"
    numbers = np.arange(len(tokens.ids))[::-1] + 5
    write_parts(file, tokens_tables(tokens, numbers))
    groups = [pq.ParquetFile(file).read_row_group(n) for n in range(pq.ParquetFile(file).num_row_groups)]
    assert len(groups) > 5 and max(map(len, groups)) < 20 + tokens.content_counts_E.max()
    seen = [example for group in groups for example in dict.fromkeys(group["example"].to_pylist())]
    assert seen == numbers.tolist()
    assert pq.read_table(file).equals(table(tokens, numbers).to_arrow().cast(pq.read_table(file).schema))


def test_the_first_examples_keep_their_places():
    tokens = tokenise(plain(tiny.make_tokenizer("bert")), tiny.TEXTS, 32)
    assert table(tokens.first(2)).equals(table(tokens).filter(pl.col("example") < 2))


def test_pooled_tokens_are_some_of_all(tmp_path):
    """Massive tokens are left out of the latents alone; a match finds the ids of those that are there."""
    model = tiny.load(tiny.save_model("gemma2", tmp_path / "model"))
    model.module.get_input_embeddings().weight.data[-1] *= 1e4
    tiny.save_sae(tmp_path / "sae", "topk", width=64)
    prepare(tmp_path / "sae", tmp_path / "sae.safetensors", width=64, layer=0)
    texts = [f"{text} {tiny.WORDS[-1]}" for text in tiny.TEXTS]
    examples = pl.DataFrame({"example": range(3, 10), "text": texts}, schema_overrides={"example": pl.UInt32})
    saes, options = {(0, "64"): tmp_path / "sae.safetensors"}, {"max_tokens": 32, "activation_dtype": "float32"}
    folders, file = [tmp_path / "shard=0", tmp_path / "shard=1"], "latents/layer=0/width=64.parquet"
    for folder, part in zip(folders, (examples[:4], examples[4:]), strict=True):
        extract(model, part, saes, [0], folder, **options)
    tokens = pl.concat([pl.read_parquet(folder / "tokens.parquet") for folder in folders])
    pooled = pl.concat([pl.read_parquet(folder / file).select("example", "position") for folder in folders])
    assert len(tokens) == sum(len(text.split()) for text in texts) > len(pooled)
    assert len(pooled.join(tokens, on=["example", "position"])) == len(pooled)
    wanted = np.array([4, 9], dtype=np.uint32)
    found = alignment.read_tokens(folders, file, wanted, 64)
    assert np.unique(found.example_N).tolist() == [4, 9]
    expected = pooled.join(tokens, on=["example", "position"], maintain_order="left")
    expected = expected.filter(pl.col("example").is_in([4, 9])).sort("example", maintain_order=True)
    assert found.id_N.tolist() == expected["token_id"].to_list()


# Images, where a match reads them


def test_patches_of_another_grid_are_other_tokens(tmp_path):
    """Six patches as 2 × 3 and as 3 × 2: the first two have the same place."""
    found = []
    for columns in (3, 2):
        row_N, column_N = np.divmod(np.arange(6, dtype=np.int32), columns)
        places = {"row": [row_N], "column": [column_N]}
        tokens = Tokens([np.zeros(6, np.int32)], [np.ones(6, bool)], np.zeros(1, bool), [b""], places)
        shard = tmp_path / str(columns)
        write_parts(shard / "tokens.parquet", tokens_tables(tokens, np.array([7])))
        lists = {"latent": [[0]] * 6, "activation": [[1.0]] * 6}
        kinds = {
            "example": pl.UInt32,
            "position": pl.UInt32,
            "latent": pl.List(pl.UInt32),
            "activation": pl.List(pl.Float32),
        }
        rows = pl.DataFrame({"example": [7] * 6, "position": range(6), **lists}, schema=kinds)
        write_parts(shard / "latents.parquet", [rows])
        found.append(alignment.read_tokens([shard], "latents.parquet", np.array([7]), 1))
    assert len(alignment.shared(found[0], found[0])[0]) == 6
    assert len(alignment.shared(*found)[0]) == 0
