"""Massive activations: a token that dwarfs its text is found, counted, and left out of what it would swamp."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tessera.activations.extraction import extract
from tessera.activations.massive import MASSIVE, is_massive
from tessera.activations.norms import Norms
from tessera.activations.residuals import cache_residuals
from tessera.base.files import write_parquet
from tessera.features.hidden import read_hidden
from tessera.results.tables import norm_table
from tessera.saes.preparing import prepare

EXAMPLES = pl.DataFrame({"example": range(len(tiny.TEXTS)), "text": tiny.TEXTS}).cast({"example": pl.UInt32})
SINK = 500  # the planted first token's residual is that much longer
LONG = [row for row, text in enumerate(tiny.TEXTS) if len(text.split()) > 1]  # a text of one token has no sink


@given(st.lists(st.lists(st.floats(0.5, 1e4), min_size=1, max_size=9), min_size=1, max_size=6))
def test_a_token_is_massive_by_its_own_text_alone(texts):
    norm_N = torch.tensor([norm for text in texts for norm in text], dtype=torch.float32)
    found = is_massive(norm_N, np.array([len(text) for text in texts])).split([len(text) for text in texts])
    for norms, massive in zip(norm_N.split([len(text) for text in texts]), found, strict=True):
        median = norms.sort().values[(len(norms) - 1) // 2]
        assert massive.tolist() == (norms > MASSIVE * median).tolist()
        assert massive.sum() <= len(norms) // 2


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A tiny causal model without BOS whose second block makes a sink of a text's first token, and an SAE behind it."""
    root = tmp_path_factory.mktemp("planted")
    model = tiny.load(tiny.save_model("gpt2", root / "model"), prepend_bos=False)

    def sink(_module, _inputs, output):
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[:, 0] *= SINK
        return (state, *output[1:]) if isinstance(output, tuple) else state

    model.blocks[1].register_forward_hook(sink)
    sae = tiny.save_sae(root / "sae", "standard", width=64)
    prepare(sae, root / "sae.safetensors", root / "decoder.safetensors", width=64, layer=1)
    return model, {(1, "64"): root / "sae.safetensors"}


def run(planted, out, **options):
    model, saes = planted
    return extract(model, EXAMPLES, saes, [0, 1], out, max_tokens=32, activation_dtype="float32", **options)


def test_a_sink_is_not_pooled_unless_asked_for(planted, tmp_path):
    run(planted, tmp_path / "without")
    run(planted, tmp_path / "with", pool_massive=True)
    counts = np.array([len(text.split()) for text in tiny.TEXTS])
    for name, left_out in (("without", counts > 1), ("with", counts < 0)):
        tokens = pl.read_parquet(tmp_path / name / "latents/layer=1/width=64.parquet")
        found = tokens.group_by("example").agg(pl.len(), pl.col("position").min()).sort("example")
        assert found["len"].to_list() == (counts - left_out).tolist()
        assert found["position"].to_list() == left_out.astype(int).tolist()
        hidden = pq.read_table(tmp_path / name / "hidden/layer=1.parquet").sort_by("example")
        assert hidden["tokens"].to_pylist() == (counts - left_out).tolist()
    largest = [abs(read_hidden([tmp_path / name / "hidden/layer=1.parquet"], "max")[LONG]).max() for name in
               ("without", "with")]  # fmt: skip
    assert largest[1] > 50 * largest[0]
    before = [(tmp_path / name / "hidden/layer=0.parquet").read_bytes() for name in ("without", "with")]
    assert before[0] == before[1]  # the layer in front of the sink


def test_norms_are_measured_on_every_content_token(planted, tmp_path):
    files = []
    for shard, part in enumerate((EXAMPLES[:3], EXAMPLES[3:])):
        model, saes = planted
        summary = extract(
            model, part, saes, [0, 1], tmp_path / f"shard={shard}", max_tokens=32, activation_dtype="float32"
        )
        files.append(str(tmp_path / f"model=m/data=d/pass=0/shard={shard}/summary.parquet"))
        write_parquet(files[-1], summary)
    table = {row["layer"]: row for row in norm_table(files).iter_rows(named=True)}
    cache_residuals(model, tiny.TEXTS, {0: "resid_post", 1: "resid_post"}, tmp_path / "c", max_tokens=32, budget=10_000)
    tokens, texts = sum(len(text.split()) for text in tiny.TEXTS), len(tiny.TEXTS)
    ordinary = np.linalg.norm(np.load(tmp_path / "c/layer=0.npy"), axis=1)
    assert len(ordinary) == table[0]["tokens"] == table[0]["pooled"] == tokens
    assert table[0]["median_norm"] == pytest.approx(np.sort(ordinary)[(tokens - 1) // 2], rel=1e-3)
    assert table[0]["largest_norm"] == pytest.approx(ordinary.max(), rel=1e-5)
    assert (table[0]["massive"], table[0]["massive_first"]) == (0, None)
    kept = np.linalg.norm(np.load(tmp_path / "c/layer=1.npy"), axis=1)
    assert table[1]["pooled"] == tokens - len(LONG) and len(kept) == tokens - texts  # no one-word text is trained on
    assert table[1]["massive"] == pytest.approx(len(LONG) / tokens)
    assert table[1]["massive_texts"] == pytest.approx(len(LONG) / texts)
    assert (table[1]["massive_first"], table[1]["massive_in_front"]) == (1, 0)
    assert table[1]["largest_norm"] > MASSIVE * np.median(kept)


def test_residuals_are_those_of_ordinary_tokens_in_text_order(planted, tmp_path):
    model, _ = planted
    cache_residuals(model, tiny.TEXTS, {1: "resid_post"}, tmp_path / "cache", max_tokens=32, budget=10_000)
    run(planted, tmp_path / "shard")
    sums = read_hidden([tmp_path / "shard/hidden/layer=1.parquet"], "sum")
    counts = [len(tiny.TEXTS[row].split()) - 1 for row in LONG]
    parts = np.split(np.load(tmp_path / "cache/layer=1.npy"), np.cumsum(counts)[:-1])
    np.testing.assert_allclose(np.stack([part.sum(axis=0) for part in parts]), sums[LONG], rtol=1e-4, atol=1e-4)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["layer=1.npy"]


def test_bins_hold_norms_to_a_thousandth():
    norms = Norms()
    norms.add(np.array([1.0, 2.0, 1e6, 0.0]), np.array([False, False, True, False]), np.array([3, 1]))
    row = norms.row()
    assert np.exp(np.array(row["norm_bins"][1:]) / 1000) == pytest.approx([1, 2, 1e6], rel=1e-3)
    assert (row["norm_counts"], row["massive"], row["massive_first"]) == ([1, 1, 1, 1], 1, 0)
    assert (row["massive_in_front"], row["massive_texts"], row["norm_largest"]) == (2, 1, 1e6)
