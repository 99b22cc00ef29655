"""Pooling against a naive dense reference written from the definitions."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import fails
from studies import study_of
from tessera.activations.shards import latents_schema
from tessera.base.errors import TesseraError
from tessera.base.files import parquet_writer, write_parquet
from tessera.features.pooling import (
    FEATURES_SCHEMA,
    check_poolings,
    parse_pooling,
    pool,
    pool_shards,
    pooling_order,
    read_features,
)
from tessera.features.pooling import (
    POOLINGS as REGISTERED,
)

WIDTH = 7
POOLINGS = ["sum", "mean", "max", "last", "count", "top1", "top2", "top3", "top20", "before_answer"]
LATENTS = latents_schema(pa.float16())

# A study is {example number: [token, ...]}, a token {latent: activation}; few values, so that ties are common.
activations = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0]) | st.floats(0.0009765625, 100, width=16)


def studies_of(activations):
    tokens = st.dictionaries(st.integers(0, WIDTH - 1), activations, max_size=WIDTH)
    return st.dictionaries(st.integers(0, 1000), st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=6)


studies = studies_of(activations)
signed_studies = studies_of(activations | activations.map(lambda value: -value))


def reference(study, pooling):
    """Features [E, WIDTH], rows in the order of `study`."""
    rows = []
    for example in study.values():
        dense_TW = np.zeros((len(example), WIDTH))
        for row_W, token in zip(dense_TW, example, strict=True):
            row_W[list(token)] = list(token.values())
        match pooling:
            case "sum":
                rows.append(dense_TW.sum(axis=0))
            case "mean":
                rows.append(dense_TW.sum(axis=0) / len(example))
            case "max":
                rows.append(dense_TW.max(axis=0))
            case "last" | "before_answer":
                rows.append(dense_TW[-1])
            case "count":
                rows.append((dense_TW > 0).sum(axis=0))
            case _:
                rows.append(sum(in_top(row_W, int(pooling[3:])) for row_W in dense_TW))
    return np.array(rows, dtype=np.float32)


def in_top(row_W, size):
    """1 for the `size` largest positive activations of a token, among equals for the smaller latent."""
    order = sorted(range(WIDTH), key=lambda latent: (-row_W[latent], latent))
    return np.array([latent in order[:size] and row_W[latent] > 0 for latent in range(WIDTH)], dtype=int)


def arrays(study):
    """The arguments of `pool`: example_N, offsets_N, latents, values."""
    flat = [sorted(token.items()) for example in study.values() for token in example]
    pairs = [pair for token in flat for pair in token]
    return (
        np.repeat(np.array(list(study), dtype=np.uint32), [len(example) for example in study.values()]),
        np.append(0, np.cumsum([len(token) for token in flat])).astype(np.int32),
        np.array([latent for latent, _ in pairs], dtype=np.uint32),
        np.array([value for _, value in pairs], dtype=np.float32),
    )


def one(study, pooling):
    """Example numbers and the features of one pooling."""
    example_E, pooled = pool(*arrays(study), [pooling])
    return example_E, pooled[pooling]


def dense(features_EW):
    return np.pad(features_EW.toarray(), [(0, 0), (0, WIDTH - features_EW.shape[1])])


def write_shard(path, groups):
    """A latents shard with a row group for each study of `groups`."""
    with parquet_writer(path, LATENTS) as writer:
        for study in groups:
            example_N, *_ = arrays(study)
            flat = [sorted(token.items()) for example in study.values() for token in example]
            latents = pa.array([[latent for latent, _ in token] for token in flat], LATENTS.field("latent").type)
            values = [np.array([value for _, value in token], dtype=np.float16) for token in flat]
            position_N = np.concatenate([np.arange(len(example), dtype=np.uint32) for example in study.values()])
            activations = pa.array(values, pa.list_(pa.float16()))
            columns = [pa.array(example_N), pa.array(position_N), latents, activations]
            writer.write_table(pa.table(columns, schema=LATENTS))
    return path


@pytest.mark.parametrize("pooling", POOLINGS)
@settings(max_examples=50, deadline=None)
@given(study=studies)
def test_pool_equals_the_reference(pooling, study):
    example_E, features_EW = one(study, pooling)
    assert example_E.tolist() == list(study)
    assert features_EW.data.dtype == np.float32
    assert features_EW.has_canonical_format
    assert (features_EW.data > 0).all()
    np.testing.assert_array_equal(dense(features_EW), reference(study, pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
@settings(max_examples=100, deadline=None)
@given(study=signed_studies)
def test_pool_of_negative_activations_equals_the_reference(pooling, study):
    example_E, features_EW = one(study, pooling)
    assert example_E.tolist() == list(study)
    assert features_EW.has_canonical_format
    np.testing.assert_array_equal(dense(features_EW), reference(study, pooling))


def test_pool_of_negative_activations_by_hand():
    study = {4: [{0: -1.0, 1: -2.0, 2: 2.0}, {0: -3.0, 2: -4.0}], 1: [{1: -0.5}]}
    expected = {
        "sum": [[-4, -2, -2], [0, -0.5, 0]],
        "mean": [[-2, -1, -1], [0, -0.5, 0]],
        "max": [[-1, 0, 2], [0, -0.5, 0]],  # latent 1 is silent at the second token of example 4
        "last": [[-3, 0, -4], [0, -0.5, 0]],
        "count": [[0, 0, 1], [0, 0, 0]],
        "top20": [[0, 0, 1], [0, 0, 0]],
    }
    for pooling, rows in expected.items():
        _, features_EW = one(study, pooling)
        np.testing.assert_array_equal(dense(features_EW)[:, :3], np.array(rows, dtype=np.float32), err_msg=pooling)
        assert (features_EW.data != 0).all()


def test_pool_by_hand():
    study = {4: [{0: 1.0, 2: 2.0}, {}, {2: 4.0}], 1: [{1: 0.5}]}
    expected = {
        "sum": [[1, 0, 6], [0, 0.5, 0]],
        "mean": [[1 / 3, 0, 2], [0, 0.5, 0]],
        "max": [[1, 0, 4], [0, 0.5, 0]],
        "last": [[0, 0, 4], [0, 0.5, 0]],
        "count": [[1, 0, 2], [0, 1, 0]],
        "top1": [[0, 0, 2], [0, 1, 0]],
        "top2": [[1, 0, 2], [0, 1, 0]],
    }
    for pooling, rows in expected.items():
        example_E, features_EW = one(study, pooling)
        assert example_E.tolist() == [4, 1]
        np.testing.assert_array_equal(features_EW.toarray(), np.array(rows, dtype=np.float32), err_msg=pooling)


def test_among_equals_the_smaller_latent_is_in_the_top():
    study = {0: [{5: 1.0, 1: 1.0, 3: 1.0}, {6: 2.0, 4: 1.0, 0: 1.0}]}
    assert dense(one(study, "top2")[1]).tolist() == [[1, 1, 0, 1, 0, 0, 1]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_examples_without_an_active_latent_keep_their_row(pooling):
    study = {2: [{}], 0: [{}, {}], 1: [{3: 1.0}], 7: [{}]}
    np.testing.assert_array_equal(dense(one(study, pooling)[1]), reference(study, pooling))
    nothing = {0: [{}], 1: [{}, {}]}
    assert one(nothing, pooling)[1].nnz == 0


def test_sums_are_added_in_more_than_float32():
    study = {0: [{0: 1.0}, *[{0: 2.0**-20}] * 4096]}
    assert one(study, "sum")[1].toarray()[0, 0] == np.float32(1 + 4096 * 2.0**-20)


def test_sums_go_past_float16():
    study = {0: [{0: 60000.0}] * 4}
    assert one(study, "sum")[1].toarray()[0, 0] == 240000


@settings(max_examples=20, deadline=None)
@given(study=studies, data=st.data())
def test_shards_and_row_groups_make_no_difference(tmp_path_factory, study, data):
    folder = tmp_path_factory.mktemp("shards")
    numbers = list(study)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(numbers)), max_size=3, unique=True)))
    bounds = zip([0, *cuts], [*cuts, len(numbers)], strict=True)
    groups = [{n: study[n] for n in numbers[low:high]} for low, high in bounds if low < high]
    half = data.draw(st.integers(0, len(groups)))
    shards = [
        write_shard(folder / f"{i}.parquet", part) for i, part in enumerate((groups[:half], groups[half:])) if part
    ]
    outputs = {pooling: folder / f"{pooling}.features.parquet" for pooling in POOLINGS}
    pool_shards(shards, outputs)
    ascending = dict(sorted(study.items()))
    for pooling, file in outputs.items():
        features_EW = read_features(file)
        assert features_EW.dtype == np.float32
        np.testing.assert_array_equal(dense(features_EW), reference(ascending, pooling), err_msg=pooling)


def test_the_same_shards_give_the_same_bytes(tmp_path):
    study = {3: [{0: 1.0, 4: 0.5}, {}], 1: [{2: 2.0}]}
    shard = write_shard(tmp_path / "shard.parquet", [study])
    for name in ("a", "b"):
        pool_shards([shard], {"sum": tmp_path / name})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"text" * 50]
)
def test_a_damaged_file_is_named(tmp_path, damage):
    shard = write_shard(tmp_path / "shard.parquet", [{0: [{1: 1.0}] * 50}])
    features = tmp_path / "features.parquet"
    pool_shards([shard], {"sum": features})
    for file in (shard, features):
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TesseraError, match=r"features\.parquet"):
        read_features(features)
    with pytest.raises(TesseraError, match=r"shard\.parquet"):
        pool_shards([shard], {"sum": tmp_path / "out.parquet"})
    assert not (tmp_path / "out.parquet").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TesseraError, match=r"absent\.parquet"):
        read_features(tmp_path / "absent.parquet")


def test_a_failure_leaves_nothing_behind(tmp_path):
    good = write_shard(tmp_path / "good.parquet", [{0: [{1: 1.0}]}])
    with pytest.raises(TesseraError):
        pool_shards([good, tmp_path / "absent.parquet"], {"sum": tmp_path / "out" / "features.parquet"})
    assert list((tmp_path / "out").iterdir()) == []


def test_damage_inside_a_file_is_noticed(tmp_path):
    path = tmp_path / "features.parquet"
    table = pa.table(
        [
            pa.array(np.arange(20000, dtype=np.uint32)),
            pa.array([[1, 2, 3]] * 20000, pa.list_(pa.uint32())),
            pa.array([[1.0, 2.0, 3.0]] * 20000, pa.list_(pa.float32())),
        ],
        schema=FEATURES_SCHEMA,
    )
    write_parquet(path, table)
    intact = path.read_bytes()
    for place in (40, len(intact) // 3, len(intact) // 2):
        damaged = bytearray(intact)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(TesseraError, match=r"features\.parquet cannot be read"):
            read_features(path)


@pytest.mark.parametrize(
    ("pooling", "found"), [("sum", ("sum", ())), ("top1", ("topN", (1,))), ("top20", ("topN", (20,)))]
)
def test_a_pooling_is_a_name_and_perhaps_a_number(pooling, found):
    assert parse_pooling(pooling) == found


def test_every_registered_pooling_is_tested_here():
    assert {parse_pooling(pooling)[0] for pooling in POOLINGS} == set(REGISTERED)


@pytest.mark.parametrize("pooling", ["median", "top0", "top", "topN", "sum2", "top-1", "Sum", ""])
def test_a_pooling_that_is_not_registered_is_refused_in_one_line(pooling):
    study = study_of(grid={"poolings": ["sum", pooling]})
    fails(
        lambda: check_poolings(study), "config key grid.poolings[1]", repr(pooling), "sum, mean, max, last, count, topN"
    )


def test_poolings_stand_in_the_order_of_figures():
    order = [
        "sum",
        "sum_beside_last",
        "mean",
        "max",
        "top5",
        "top20",
        "before_answer",
        "heads1",
        "heads1_position",
        "heads12",
    ]
    assert sorted(order[::-1], key=pooling_order) == order
