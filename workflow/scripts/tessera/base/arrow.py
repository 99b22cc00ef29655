"""numpy arrays as arrow arrays, and back.

pyarrow's own `array` and `to_numpy` import pandas where it is installed, which costs a job 0.35 s of CPU.
"""

import numpy as np
import pyarrow as pa


def to_arrow(values: np.ndarray) -> pa.Array:
    """The numbers [N] as an arrow array of their type, without a null; a contiguous array is not copied."""
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer], 0)


def to_numpy(values: pa.Array) -> np.ndarray:
    """Numbers [N], none of them null, as they lie in memory: not to be written to."""
    return np.from_dlpack(values)
