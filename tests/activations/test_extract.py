"""Extraction: shards hold what SAELens encodes of each content token, and pool as from scratch."""

from contextlib import contextmanager

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from sae_lens import SAE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tessera.activations import extraction
from tessera.activations.extraction import extract
from tessera.activations.residuals import cache_residuals
from tessera.base.errors import TesseraError
from tessera.features.hidden import read_hidden
from tessera.features.pooling import pool_folders, read_features
from tessera.models.text import tokenise
from tessera.saes.encoders import SparseActivations
from tessera.saes.preparing import prepare

LAYERS = [0, 2, 3]  # the last one without an SAE
CELLS = [(0, "64"), (0, "96"), (2, "64"), (2, "96")]
POOLINGS = ["sum", "mean", "max", "last", "count", "top3", "before_answer"]
FIRST = 100  # number of the first example


class Study:
    """A tiny model, its SAEs, and everything the shards must hold, computed one text at a time."""

    def __init__(self, architecture, root):
        self.model = tiny.load(tiny.save_model(architecture, root / "model"))
        self.examples = pl.DataFrame(
            {"example": range(FIRST, FIRST + len(tiny.TEXTS)), "text": tiny.TEXTS},
            schema_overrides={"example": pl.UInt32},
        )
        self.paths, self.saes = {}, {}
        for seed, (layer, width) in enumerate(CELLS):
            kind = "jumprelu" if width == "64" else "topk"
            folder = tiny.save_sae(root / f"{layer}-{width}", kind, width=int(width), seed=seed)
            self.paths[layer, width] = root / f"{layer}-{width}.safetensors"
            self.saes[layer, width] = SAE.load_from_disk(folder)
            prepare(folder, self.paths[layer, width], root / "decoder", width=int(width), layer=layer)
        self.tokens, self.residuals, self.acts, self.ends = zip(*map(self.by_hand, tiny.TEXTS), strict=True)

    @torch.inference_mode()
    def by_hand(self, text):
        """Of one text: content tokens (position, id), residuals [T, d] per layer, activations [T, W] per cell; of its
        last token, content or not, position, residuals and activations."""
        tokenizer = self.model.tokenizer
        ids = tokenizer(text)["input_ids"]
        special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
        content = [position for position, id in enumerate(ids) if id not in special]
        seen = []
        handle = self.model.blocks[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
        states = self.model.module(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        handle.remove()
        last = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        hidden = dict(enumerate([*(state[0] for state in states[1:-1]), last[0]]))
        acts = {cell: sae.encode(hidden[cell[0]]).numpy() for cell, sae in self.saes.items()}
        end = {"position": len(content) - 1, "hidden": {layer: hidden[layer][-1].numpy() for layer in LAYERS}}
        end["acts"] = {cell: acts_TW[-1] for cell, acts_TW in acts.items()}
        tokens = [(number, ids[position]) for number, position in enumerate(content)]
        hidden = {layer: hidden[layer][content].numpy() for layer in LAYERS}
        return tokens, hidden, {cell: acts_TW[content] for cell, acts_TW in acts.items()}, end

    def run(self, out, examples=None, **options):
        options = {"max_tokens": 32, "activation_dtype": "float32"} | options
        return extract(self.model, self.examples if examples is None else examples, self.paths, LAYERS, out, **options)


@pytest.fixture(scope="module", params=["bert", "gemma2"])
def study(request, tmp_path_factory):
    return Study(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    """One shard in one batch, float32."""
    out = tmp_path_factory.mktemp("whole") / "shard=0"
    study.run(out, batch_tokens=4096)
    return out


def latents(folder, cell):
    return folder / f"latents/layer={cell[0]}/width={cell[1]}.parquet"


def features(folders, cell, out):
    """Pooled features [E, W] by pooling, dense."""
    outputs = {pooling: out / f"{pooling}.parquet" for pooling in POOLINGS}
    pool_folders(folders, outputs, layer=cell[0], width=cell[1])
    found = {}
    for pooling, path in outputs.items():
        pooled = read_features(path)
        pooled.resize(pooled.shape[0], int(cell[1]))
        found[pooling] = pooled.toarray()
    return found


def pool_by_hand(acts_TW, pooling):
    match pooling:
        case "count":
            return (acts_TW > 0).sum(axis=0)
        case "last" | "before_answer":  # of these models, no marker stands behind a text
            return acts_TW[-1]
        case "top3":
            largest = np.argsort(-acts_TW, axis=1, kind="stable")[:, :3]
            top = np.zeros(acts_TW.shape, dtype=bool)
            np.put_along_axis(top, largest, True, axis=1)
            return (top & (acts_TW > 0)).sum(axis=0)
        case _:
            return getattr(acts_TW, pooling)(axis=0)


# Rows of a shard


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_row_per_content_token_with_what_saelens_encodes(study, tmp_path, cell, dtype):
    study.run(tmp_path / "shard", activation_dtype=dtype)
    table = pq.read_table(latents(tmp_path / "shard", cell))
    rows = {(row["example"], row["position"]): row for row in table.to_pylist()}
    assert len(rows) == len(table) == sum(map(len, study.tokens))
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == "float16" else {"rtol": 1e-4, "atol": 1e-5}
    for example, (tokens, acts) in enumerate(zip(study.tokens, study.acts, strict=True), start=FIRST):
        for (position, _), acts_W in zip(tokens, acts[cell], strict=True):
            row = rows[example, position]
            assert row["latent"] == np.flatnonzero(acts_W).tolist()
            np.testing.assert_allclose(row["activation"], acts_W[acts_W > 0], **tolerance)
    assert str(table.schema.field("activation").type.value_type) == {"float16": "halffloat", "float32": "float"}[dtype]


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_per_example_of_its_last_token(study, whole, cell):
    table = pq.read_table(whole / f"before_answer/layer={cell[0]}/width={cell[1]}.parquet").sort_by("example")
    assert table["example"].to_pylist() == [*range(FIRST, FIRST + len(tiny.TEXTS))]
    for row, end in zip(table.to_pylist(), study.ends, strict=True):
        assert row["position"] == end["position"]
        assert row["latent"] == np.flatnonzero(end["acts"][cell]).tolist()


def test_tokens_are_every_content_token_in_order(study, whole):
    table = pq.read_table(whole / "tokens.parquet")
    kept = zip(*(table[name].to_pylist() for name in ("example", "position", "token_id")), strict=True)
    assert [*kept] == [
        (example, *token) for example, tokens in enumerate(study.tokens, start=FIRST) for token in tokens
    ]


@pytest.mark.parametrize("layer", LAYERS)
def test_hidden_state_before_the_answer(study, whole, layer):
    found = read_hidden([whole / f"hidden/layer={layer}.parquet"], "before_answer")
    np.testing.assert_allclose(found, np.stack([end["hidden"][layer] for end in study.ends]), rtol=1e-4, atol=1e-5)


def test_tokens_of_an_example_stand_together_in_order(whole):
    table = pl.from_arrow(pq.read_table(latents(whole, CELLS[0]), columns=["example", "position"]))
    assert table["example"].rle().struct.field("value").is_unique().all()
    assert (table.group_by("example").agg(rising=(pl.col("position").diff() > 0).all()))["rising"].all()


def test_encodings(whole):
    for cell in CELLS:
        file = pq.ParquetFile(latents(whole, cell))
        group = file.metadata.row_group(0)
        columns = {
            column.path_in_schema.split(".")[0]: column for column in map(group.column, range(group.num_columns))
        }
        assert set(columns) == {"example", "position", "latent", "activation"}
        for name, column in columns.items():
            assert column.compression == "ZSTD"
            assert not column.has_dictionary_page
            expected = "BYTE_STREAM_SPLIT" if name == "activation" else "DELTA_BINARY_PACKED"
            assert set(column.encodings) <= {expected, "RLE"}
            assert expected in column.encodings


def test_files_are_the_layers_and_widths(whole):
    found = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}
    expected = {
        f"{part}/layer={layer}/width={width}.parquet" for part in ("latents", "before_answer") for layer, width in CELLS
    }
    assert found == expected | {f"hidden/layer={layer}.parquet" for layer in LAYERS} | {"tokens.parquet"}


def test_same_bytes_again(study, whole, tmp_path):
    study.run(tmp_path / "again", batch_tokens=4096)
    for path in whole.rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(whole)).read_bytes()


def test_summary_counts(study, tmp_path):
    summary = study.run(tmp_path / "shard", max_tokens=12)
    truncated = [len(text.split()) + tiny.ADDED[study.model.module.config.model_type] > 12 for text in tiny.TEXTS]
    assert 0 < sum(truncated) < len(truncated)
    for row in summary.iter_rows(named=True):
        assert row["examples"] == len(tiny.TEXTS)
        assert row["truncated"] == sum(truncated)
        if row["width"] is None:
            assert row["nonzeros"] is None
            continue
        table = pq.read_table(latents(tmp_path / "shard", (row["layer"], row["width"])))
        assert row["tokens"] == len(table) < sum(map(len, study.tokens))
        assert row["nonzeros"] == sum(map(len, table["latent"].to_pylist())) > 0
    keys = list(zip(summary["layer"], summary["width"], strict=True))
    assert keys == [*((layer, None) for layer in LAYERS), *CELLS]


def test_nonzeros_are_those_of_saelens(study, tmp_path):
    summary = study.run(tmp_path / "shard").drop_nulls("width")
    for layer, width, nonzeros in summary.select("layer", "width", "nonzeros").iter_rows():
        assert nonzeros == sum(int((acts[layer, width] > 0).sum()) for acts in study.acts)


# Pooling


@pytest.mark.parametrize("cell", CELLS)
def test_features_equal_those_from_scratch(study, whole, tmp_path, cell):
    found = features([whole], cell, tmp_path)
    for pooling in POOLINGS:
        if pooling == "before_answer":
            expected = np.stack([end["acts"][cell] for end in study.ends])
        else:
            expected = np.stack([pool_by_hand(acts[cell], pooling) for acts in study.acts])
        np.testing.assert_allclose(found[pooling], expected, rtol=1e-4, atol=1e-5, err_msg=pooling)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", ["sum", "mean", "max", "last"])
def test_hidden_states_equal_those_from_scratch(study, whole, layer, pooling):
    expected = np.stack([pool_by_hand(hidden[layer], pooling) for hidden in study.residuals])
    found = read_hidden([whole / f"hidden/layer={layer}.parquet"], pooling)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("budget", "shards"), [(1, 1), (30, 1), (4096, 3), (1, 3)])
def test_features_do_not_depend_on_batches_or_shards(study, whole, tmp_path, budget, shards):
    size = -(-len(study.examples) // shards)
    folders = [tmp_path / f"shard={number}" for number in range(shards)]
    for number, folder in enumerate(folders):
        study.run(folder, study.examples.slice(number * size, size), batch_tokens=budget)
    for cell in CELLS:
        expected, found = features([whole], cell, tmp_path), features(folders, cell, tmp_path)
        for pooling in POOLINGS:
            np.testing.assert_allclose(found[pooling], expected[pooling], rtol=1e-4, atol=1e-5, err_msg=pooling)
    for layer in LAYERS:
        for pooling in ("sum", "mean", "max", "last"):
            one, many = ([part / f"hidden/layer={layer}.parquet" for part in parts] for parts in ([whole], folders))
            np.testing.assert_allclose(read_hidden(many, pooling), read_hidden(one, pooling), rtol=1e-4, atol=1e-5)


# Faults: nothing is left behind


def refused(study, out, match, **options):
    with pytest.raises(TesseraError, match=match):
        study.run(out, **options)
    assert list(out.parent.iterdir()) == []


@contextmanager
def first_block_times(study, factor):
    """Multiply the first block's output by `factor`."""

    def scale(_module, _inputs, output):
        return (output[0] * factor, *output[1:]) if isinstance(output, tuple) else output * factor

    handle = study.model.blocks[0].register_forward_hook(scale)
    yield
    handle.remove()


def test_float16_overflow_names_the_key(study, tmp_path):
    with first_block_times(study, 1e6):
        refused(
            study,
            tmp_path / "shard",
            r"layer 0 width 64: example 10\d has .*activation_dtype: float32",
            activation_dtype="float16",
        )
        study.run(tmp_path / "shard", activation_dtype="float32")
    table = pq.read_table(latents(tmp_path / "shard", CELLS[0]))
    values = np.concatenate(table["activation"].to_pylist())
    assert values.max() > 65504
    assert np.isfinite(values).all()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_residual_that_is_not_finite_is_an_error(study, tmp_path, factor):
    with first_block_times(study, factor):
        refused(
            study, tmp_path / "shard", r"layer 0: example 10\d has a hidden state that is not finite at position \d"
        )


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_failure_in_the_middle_leaves_nothing(study, tmp_path, monkeypatch, kind):
    original, calls = extraction.token_table, []

    def fail_later(*arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise kind("pulled the plug")
        return original(*arguments)

    monkeypatch.setattr(extraction, "token_table", fail_later)
    with pytest.raises(kind):
        study.run(tmp_path / "shard", batch_tokens=1)
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_earlier_shard(study, tmp_path, monkeypatch):
    study.run(tmp_path / "shard")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    monkeypatch.setattr(extraction, "pool_hidden", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        study.run(tmp_path / "shard")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


def test_sae_of_another_model_is_refused(study, tmp_path):
    folder = tiny.save_sae(tmp_path / "sae", "standard", width=48, d_in=16)
    prepare(folder, tmp_path / "sae.safetensors", tmp_path / "decoder.safetensors", width=48, layer=1)
    with pytest.raises(TesseraError, match=r"layer 1 width 48 reads 16 dimensions, the model has 32"):
        extract(
            study.model,
            study.examples,
            {(1, "48"): tmp_path / "sae.safetensors"},
            [1],
            tmp_path / "shard",
            max_tokens=32,
            activation_dtype="float16",
        )
    assert not (tmp_path / "shard").exists()


def test_sae_that_never_fires(study, tmp_path):
    path = tmp_path / "silent.safetensors"
    with safe_open(study.paths[0, "64"], "pt") as file:
        metadata = file.metadata()
    tensors = load_file(study.paths[0, "64"])
    save_file(tensors | {"b_enc": tensors["b_enc"] - 1000}, path, metadata=metadata)
    options = {"max_tokens": 32, "activation_dtype": "float16"}
    summary = extract(study.model, study.examples, {(0, "64"): path}, [0], tmp_path / "shard", **options)
    assert summary["nonzeros"].to_list() == [None, 0]
    assert len(pq.read_table(latents(tmp_path / "shard", (0, "64")))) == sum(map(len, study.tokens))
    for pooled in features([tmp_path / "shard"], (0, "64"), tmp_path).values():
        np.testing.assert_array_equal(pooled, np.zeros((len(tiny.TEXTS), 64)))


def test_float16_overflow_names_the_example():
    """The tokens of two examples, some of them silent; the second one's last token overflows."""
    rows = {
        "example": np.array([100, 100, 101, 101, 101], dtype=np.uint32),
        "position": np.arange(5, dtype=np.uint32),
    }
    counts_N, latents = np.array([1, 0, 0, 2, 0]), np.array([3, 0, 5], dtype=np.uint32)

    def table(values, activation):
        sparse = SparseActivations(counts_N, latents, np.array(values, dtype=np.float32))
        return extraction.token_table(rows, sparse, activation, (1, "64"))

    for values, message in {
        (1.0, 2.0, 7e4): "layer 1 width 64: example 101 has an activation of 70000, .* activation_dtype: float32",
        (1.0, -7e4, 2.0): "example 101 has an activation of -70000, which float16 cannot hold",
        (7e4, 8e4, 2.0): "example 100 has an activation of 70000",
        (1.0, 2.0, float("nan")): "example 101 has an activation of nan, which is not finite; set dtype: float32",
    }.items():
        with pytest.raises(TesseraError, match=message) as caught:
            table(values, pa.float16())
        assert "\n" not in str(caught.value)
    assert table((1.0, 2.0, -7e4), pa.float32())["activation"].to_pylist() == [[1], [], [], [2, -7e4], []]
    with pytest.raises(TesseraError, match="example 100 has an activation of inf, which is not finite"):
        table((float("inf"), 2.0, 1.0), pa.float32())
    held = table((65504.0, 1e-9, -1e-9), pa.float16())["activation"].to_pylist()
    assert held == [[65504], [], [], [2**-24, -(2**-24)], []]  # what is active stays active, and keeps its sign


# Other hooks and other architectures


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A Gemma 2 whose heads side by side are wider (48) than its residual stream."""
    return tiny.load(tiny.save_model("gemma2", tmp_path_factory.mktemp("wide") / "model", head_dim=12))


def prepared(save, root, architecture, layer, hook_name, **options):
    """Path of a prepared SAE of 64 latents, and the SAE."""
    folder = save(root / f"{layer}-{hook_name}", architecture, width=64, **options)
    tiny.change_sae(folder, metadata={"hook_name": f"blocks.{layer}.{hook_name}"})
    out = root / f"{layer}-{hook_name}.safetensors"
    prepare(folder, out, root / "decoder.safetensors", width=64, layer=layer)
    return out, SAE.load_from_disk(folder)


@torch.inference_mode()
def hooked(model, module, side):
    """What goes into or comes out of a module at the content tokens (all but BOS): [T, d] of each text, run alone."""
    seen = []
    if side == "input":
        handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][0]))
    else:
        handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    for text in tiny.TEXTS:
        model.module(torch.tensor([model.tokenizer(text)["input_ids"]]))
    handle.remove()
    return [state_TD[1:] for state_TD in seen]


EXAMPLES = pl.DataFrame(
    {"example": range(FIRST, FIRST + len(tiny.TEXTS)), "text": tiny.TEXTS}, schema_overrides={"example": pl.UInt32}
)
EXACT = {"max_tokens": 32, "activation_dtype": "float32"}


def check_shard(shard, layer, states, sae):
    """The latents and pooled hidden states of a layer are those of `states` (sae: or None)."""
    pooled = [shard / f"hidden/layer={layer}.parquet"]
    for pooling in ("sum", "mean", "max", "last"):
        expected = np.stack([pool_by_hand(state_TD.numpy(), pooling) for state_TD in states])
        np.testing.assert_allclose(read_hidden(pooled, pooling), expected, rtol=1e-4, atol=1e-4)
    if sae is None:
        return
    with torch.inference_mode():
        expected = [sae.encode(state_TD).numpy() for state_TD in states]
    rows = pl.from_arrow(pq.read_table(latents(shard, (layer, "64")))).sort("example", "position").to_dicts()
    for row, acts_W in zip(rows, np.concatenate(expected), strict=True):
        assert row["latent"] == np.flatnonzero(acts_W).tolist()
        np.testing.assert_allclose(row["activation"], acts_W[acts_W != 0], rtol=1e-4, atol=1e-4)
    return expected


def test_saes_read_their_own_hooks(wide, tmp_path):
    mlp, mlp_sae = prepared(tiny.save_sae, tmp_path, "jumprelu", 1, "hook_mlp_out")
    z, z_sae = prepared(tiny.save_sae, tmp_path, "topk", 2, "attn.hook_z", d_in=48)
    shard = tmp_path / "shard"
    summary = extract(wide, EXAMPLES, {(1, "64"): mlp, (2, "64"): z}, [0, 1, 2], shard, **EXACT, hook="resid_pre")
    check_shard(shard, 0, hooked(wide, wide.blocks[0], "input"), None)
    check_shard(shard, 1, hooked(wide, wide.blocks[1].post_feedforward_layernorm, "output"), mlp_sae)
    check_shard(shard, 2, hooked(wide, wide.blocks[2].self_attn.o_proj, "input"), z_sae)
    found = list(summary.select("layer", "width", "hook").iter_rows())
    assert found == [
        (0, None, "resid_pre"),
        (1, None, "mlp_out"),
        (2, None, "z"),
        (1, "64", "mlp_out"),
        (2, "64", "z"),
    ]


def test_sae_of_another_hooks_size_is_refused(wide, tmp_path):
    path, _ = prepared(tiny.save_sae, tmp_path, "topk", 2, "attn.hook_z")
    with pytest.raises(TesseraError, match=r"layer 2 width 64 reads 32 dimensions, the model has 48 there \(z\)"):
        extract(wide, EXAMPLES, {(2, "64"): path}, [2], tmp_path / "shard", **EXACT)


def test_two_hooks_at_one_layer_are_refused(wide, tmp_path):
    mlp, _ = prepared(tiny.save_sae, tmp_path, "jumprelu", 1, "hook_mlp_out")
    after, _ = prepared(tiny.save_sae, tmp_path, "jumprelu", 1, "hook_resid_post")
    with pytest.raises(TesseraError, match=r"layer 1: its SAEs read different hooks \(mlp_out, resid_post\)") as caught:
        extract(wide, EXAMPLES, {(1, "64"): mlp, (1, "64_b"): after}, [1], tmp_path / "shard", **EXACT)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "shard").exists()


@pytest.mark.parametrize(("architecture", "signs"), [("abstopk", {-1, 1}), ("skip_transcoder", {1})])
def test_architectures_that_saelens_encodes(wide, tmp_path, architecture, signs):
    path, sae = prepared(tiny.save_rare_sae, tmp_path, architecture, 1, "hook_attn_out")
    extract(wide, EXAMPLES, {(1, "64"): path}, [1], tmp_path / "shard", **EXACT, batch_tokens=40)
    states = hooked(wide, wide.blocks[1].post_attention_layernorm, "output")
    acts = check_shard(tmp_path / "shard", 1, states, sae)
    assert set(np.sign(np.concatenate(acts)).ravel()) == signs | {0}
    for pooling, found in features([tmp_path / "shard"], (1, "64"), tmp_path).items():
        expected = np.stack([pool_by_hand(acts_TW, pooling) for acts_TW in acts])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=pooling)


def test_temporal_sae_reads_each_example_alone(wide, tmp_path):
    path, sae = prepared(tiny.save_rare_sae, tmp_path, "temporal", 1, "hook_resid_post", n_heads=2, bottleneck_factor=4)
    extract(wide, EXAMPLES, {(1, "64"): path}, [1], tmp_path / "shard", **EXACT)
    encode = sae.encode
    sae.encode = lambda state_TD: encode(state_TD[None])[0]
    check_shard(tmp_path / "shard", 1, hooked(wide, wide.blocks[1], "output"), sae)
    with pytest.raises(TesseraError, match="reads a token's neighbours, so it has no activation before the answer"):
        features([tmp_path / "shard"], (1, "64"), tmp_path)


# Residuals for training


def test_cached_residuals_stand_in_text_order(study, tmp_path):
    cache_residuals(
        study.model, tiny.TEXTS, {0: "resid_post", 3: "resid_post"}, tmp_path / "cache", max_tokens=32, budget=10_000
    )
    for layer in (0, 3):
        expected = np.concatenate([hidden[layer] for hidden in study.residuals])
        found = np.load(tmp_path / "cache" / f"layer={layer}.npy")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_cached_activations_of_other_hooks(wide, tmp_path):
    hooks = {1: "z", 2: "mlp_out", 3: "resid_pre"}
    cache_residuals(wide, tiny.TEXTS, hooks, tmp_path / "cache", max_tokens=32, budget=10_000)
    places = {
        1: (wide.blocks[1].self_attn.o_proj, "input"),
        2: (wide.blocks[2].post_feedforward_layernorm, "output"),
        3: (wide.blocks[3], "input"),
    }
    for layer, place in places.items():
        found = np.load(tmp_path / "cache" / f"layer={layer}.npy")
        np.testing.assert_allclose(found, torch.cat(hooked(wide, *place)).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("budget", "used"), [(1, 1), (3, 1), (4, 2), (21, 2), (22, 2), (23, 3)])
def test_cached_texts_end_where_the_budget_is_reached(study, tmp_path, budget, used):
    counts = tokenise(study.model, tiny.TEXTS, 32).content_counts_E
    assert counts[:3].tolist() == [3, 19, 1]
    cache_residuals(study.model, tiny.TEXTS, {1: "resid_post"}, tmp_path / "cache", max_tokens=32, budget=budget)
    assert len(np.load(tmp_path / "cache" / "layer=1.npy")) == counts[:used].sum()
