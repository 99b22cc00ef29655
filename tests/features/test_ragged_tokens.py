"""Token states as features: read from shards, in rows that copy nothing, in a space fitted on training tokens."""

import numpy as np
import pyarrow as pa
import pytest
from tessera.base.arrow import to_arrow
from tessera.base.files import parquet_writer
from tessera.features import spaces
from tessera.features.registry import kind
from tessera.features.tokens import read_states

LENGTHS = {0: 3, 1: 1, 2: 5, 3: 2, 4: 4}  # tokens of the examples
STATES = {example: np.random.default_rng(example).normal(3, 2, (number, 6)) for example, number in LENGTHS.items()}


def write_shard(file, groups, dtype=np.float16):
    """Row groups, each of whole examples."""
    tables = []
    for examples in groups:
        state_ND = np.vstack([STATES[example] for example in examples]).astype(dtype)
        columns = {
            "example": to_arrow(np.repeat(examples, [LENGTHS[example] for example in examples]).astype(np.uint32)),
            "position": to_arrow(np.concatenate([np.arange(LENGTHS[one]) + 1 for one in examples]).astype(np.uint32)),
            "state": pa.FixedSizeListArray.from_arrays(to_arrow(state_ND.ravel()), 6),
        }
        tables.append(pa.table(columns))
    with parquet_writer(file, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)


@pytest.fixture(params=[np.float16, np.float32])
def states(request, tmp_path):
    """Of two shards, the longest texts of each in front, as batches come."""
    write_shard(tmp_path / "1.parquet", [[4], [3]], request.param)
    write_shard(tmp_path / "0.parquet", [[2, 0], [1]], request.param)
    return read_states([tmp_path / "0.parquet", tmp_path / "1.parquet"])


def tokens_of(states):
    return np.split(states.state_ND[states.tokens_N], np.cumsum(states.count_E)[:-1])


def test_examples_come_in_their_order(states):
    assert (len(states), states.shape, states.count_E.tolist()) == (5, (5, 6), [*LENGTHS.values()])
    for example, text_TD in enumerate(tokens_of(states)):
        assert np.array_equal(text_TD, STATES[example].astype(states.state_ND.dtype))
    assert states.position_N[states.tokens_N].tolist() == [
        place + 1 for size in LENGTHS.values() for place in range(size)
    ]


def test_rows_share_the_tokens(states):
    mask_E, numbers = np.array([True, False, False, True, True]), np.array([0, 3, 4])
    for some in (states[mask_E], states[numbers]):
        assert np.shares_memory(some.state_ND, states.state_ND)
        assert [len(text) for text in tokens_of(some)] == [3, 2, 4]
        assert np.array_equal(tokens_of(some)[1], tokens_of(states)[3])
    assert np.array_equal(tokens_of(states[numbers][np.array([2, 0])])[0], tokens_of(states)[4])


def test_the_space_is_of_the_training_tokens(states, monkeypatch):
    monkeypatch.setattr(spaces, "READ_AT_ONCE", 2)
    rows = np.array([0, 2, 3])
    space = kind("tokens").space(states[rows], "heads3_position", None)
    inside = np.vstack(tokens_of(states[rows])).astype(np.float64)
    np.testing.assert_allclose(space.mean_D, inside.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(space.scale_D, inside.std(axis=0), rtol=1e-12)
    places = np.concatenate([np.arange(LENGTHS[row]) + 1 for row in rows])
    assert (space.mean_position, space.scale_position) == pytest.approx((places.mean(), places.std()))
    assert (space.number, space.by_position) == (3, True)
    assert not kind("tokens").space(states, "heads12", None).by_position
    applied = space.apply(states)
    assert applied.space is space and applied[rows].space is space and states.space is None


def test_a_dimension_that_never_changes_stays(states):
    states.state_ND[:, 2] = 7
    space = kind("tokens").space(states, "heads1", None)
    assert space.scale_D[2] == 1
