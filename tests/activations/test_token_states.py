"""Token states: the very tokens that an extraction pools, at the same hook, kept one by one."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tiny
from refusals import fails
from tessera.activations import token_states
from tessera.activations.extraction import extract
from tessera.activations.token_states import write_states
from tessera.features.hidden import read_hidden
from tessera.features.tokens import read_states

FIRST = 100  # number of the first example
NUMBERS = range(FIRST, FIRST + len(tiny.TEXTS))
EXAMPLES = pl.DataFrame({"example": NUMBERS, "text": tiny.TEXTS}, schema_overrides={"example": pl.UInt32})
HOOKS = {0: "resid_post", 1: "mlp_out"}
EXACT = {"max_tokens": 32, "activation_dtype": "float32"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model, the output of whose first block has a massive first token in each text."""
    model = tiny.load(tiny.save_model("gpt2", tmp_path_factory.mktemp("model")), prepend_bos=False)

    def sink(_module, _inputs, output):
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[:, 0] *= 500
        return (state, *output[1:]) if isinstance(output, tuple) else state

    model.blocks[0].register_forward_hook(sink)
    return model


@pytest.mark.parametrize("pool_massive", [False, True])
def test_they_are_the_tokens_that_an_extraction_pools(model, tmp_path, pool_massive):
    extract(model, EXAMPLES, {}, [0], tmp_path / "pooled", **EXACT, pool_massive=pool_massive)
    write_states(model, EXAMPLES, HOOKS, tmp_path / "tokens", **EXACT, pool_massive=pool_massive)
    states, pooled = read_states([tmp_path / "tokens/layer=0.parquet"]), [tmp_path / "pooled/hidden/layer=0.parquet"]
    texts = np.split(states.state_ND[states.tokens_N], np.cumsum(states.count_E)[:-1])
    for pooling in ("sum", "max", "last"):
        by_hand = [text_TD[-1] if pooling == "last" else getattr(text_TD, pooling)(axis=0) for text_TD in texts]
        np.testing.assert_allclose(read_hidden(pooled, pooling), by_hand, rtol=1e-5, atol=1e-5)
    words = np.array([len(text.split()) for text in tiny.TEXTS])
    sinks = 0 if pool_massive else (words > 1).astype(int)
    assert states.count_E.tolist() == (words - sinks).tolist()
    assert states.position_N[states.first_E].tolist() == np.broadcast_to(sinks, len(words)).tolist()


def test_layers_are_read_at_their_own_hooks(model, tmp_path):
    extract(model, EXAMPLES, {}, [1], tmp_path / "pooled", **EXACT, hook="mlp_out")
    write_states(model, EXAMPLES, HOOKS, tmp_path / "tokens", **EXACT)
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == ["layer=0.parquet", "layer=1.parquet"]
    states = read_states([tmp_path / "tokens/layer=1.parquet"])
    sums = np.add.reduceat(states.state_ND[states.tokens_N], np.cumsum(states.count_E) - states.count_E)
    np.testing.assert_allclose(
        sums, read_hidden([tmp_path / "pooled/hidden/layer=1.parquet"], "sum"), rtol=1e-4, atol=1e-5
    )


def test_neither_batches_nor_shards_matter(model, tmp_path):
    write_states(model, EXAMPLES, HOOKS, tmp_path / "whole", **EXACT)
    for shard, part in (("a", EXAMPLES[4:]), ("b", EXAMPLES[:4])):
        write_states(model, part, HOOKS, tmp_path / shard, **EXACT, batch_tokens=8)
    files = [[tmp_path / shard / "layer=0.parquet" for shard in shards] for shards in (["whole"], ["a", "b"])]
    whole, parts = map(read_states, files)
    assert pq.ParquetFile(files[1][0]).num_row_groups > 1
    assert np.array_equal(whole.state_ND[whole.tokens_N], parts.state_ND[parts.tokens_N])
    assert np.array_equal(whole.position_N[whole.tokens_N], parts.position_N[parts.tokens_N])
    assert np.array_equal(whole.count_E, parts.count_E)


def test_float16_is_the_rounded_state_and_what_it_cannot_hold_is_an_error(model, tmp_path):
    write_states(model, EXAMPLES, HOOKS, tmp_path / "exact", **EXACT)
    write_states(model, EXAMPLES, HOOKS, tmp_path / "half", max_tokens=32, activation_dtype="float16")
    exact, half = (read_states([tmp_path / name / "layer=1.parquet"]) for name in ("exact", "half"))
    assert (exact.state_ND.dtype, half.state_ND.dtype) == (np.float32, np.float16)
    assert np.array_equal(exact.state_ND.astype(np.float16), half.state_ND)
    handle = model.blocks[0].register_forward_hook(lambda _module, _inputs, output: output * 1e6)
    try:
        fails(
            lambda: write_states(
                model, EXAMPLES, HOOKS, tmp_path / "large", max_tokens=32, activation_dtype="float16", pool_massive=True
            ),
            "layer 0: example 10",
            "float16 cannot hold; set activation_dtype: float32 for this model",
        )
        write_states(model, EXAMPLES, HOOKS, tmp_path / "large", **EXACT, pool_massive=True)
    finally:
        handle.remove()
    assert np.isfinite(read_states([tmp_path / "large/layer=0.parquet"]).state_ND).all()


def test_a_failure_leaves_nothing_behind(model, tmp_path, monkeypatch):
    original, calls = token_states.state_table, []

    def fail_later(*arguments):
        calls.append(arguments)
        return original(*arguments) if len(calls) < 4 else 1 / 0

    monkeypatch.setattr(token_states, "state_table", fail_later)
    with pytest.raises(ZeroDivisionError):
        write_states(model, EXAMPLES, HOOKS, tmp_path / "shard", **EXACT, batch_tokens=8)
    assert list(tmp_path.iterdir()) == []
