"""numpy arrays as arrow arrays: what pyarrow's own ways give, without pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from tessera.base.arrow import to_arrow, to_numpy


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int64, np.float16, np.float32])
@pytest.mark.parametrize("size", [0, 1, 9])
def test_there_and_back(dtype, size):
    values = np.arange(2 * size).astype(dtype)[::2]
    column = to_arrow(values)
    assert column.equals(pa.array(values)) and column.null_count == 0
    for found, expected in ((to_numpy(column), values), (to_numpy(column.slice(1, 4)), values[1:5])):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_the_array_outlives_what_it_was_made_from():
    column = to_arrow(np.arange(10_000, dtype=np.float32))
    found = to_numpy(to_arrow(np.arange(10_000, dtype=np.float32)))
    np.testing.assert_array_equal(found, column.to_pylist())


def test_pandas_is_not_imported():
    code = "import sys, numpy as np; from tessera.base.arrow import *; to_numpy(to_arrow(np.ones(3)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('pandas' in sys.modules)"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False", done.stderr
