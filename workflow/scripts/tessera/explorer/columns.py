"""Frames as bytes that a browser reads: typed columns, a header that says where each lies.

A piece is a 4-byte length, a JSON header, then the columns' bytes, each at a multiple of 8; `page/data.js` reads it.
"""

import json
import struct

import numpy as np
import polars as pl

ALIGN = 8
INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)


class _Body:
    """The bytes of all columns, one after the other."""

    def __init__(self):
        self.parts, self.size = [], 0

    def add(self, array: np.ndarray) -> dict:
        """Append an array; what a reader needs to find it."""
        content = np.ascontiguousarray(array).tobytes()
        place = {"type": array.dtype.str[1:], "at": self.size, "size": len(array)}
        padding = -len(content) % ALIGN
        self.parts.append(content + bytes(padding))
        self.size += len(content) + padding
        return place


def encode(about: dict, frames: dict[str, pl.DataFrame]) -> bytes:
    """A piece: what is said of it, as JSON, and frames by their names."""
    body = _Body()
    described = {
        name: {"rows": len(frame), "columns": {column.name: _column(column, body) for column in frame}}
        for name, frame in frames.items()
    }
    header = json.dumps({"about": about, "frames": described}, ensure_ascii=False, allow_nan=False).encode()
    header += b" " * (-(4 + len(header)) % ALIGN)
    return struct.pack("<I", len(header)) + header + b"".join(body.parts)


def _column(column: pl.Series, body: _Body) -> dict:
    """Append a column: numbers as such, strings by their number among those there are, lists as ends and items."""
    found = {} if not column.null_count() else {"valid": body.add(column.is_not_null().to_numpy().astype(np.uint8))}
    if column.dtype == pl.List:
        lengths = column.list.len().fill_null(0).to_numpy()
        return found | {
            "kind": "list",
            "ends": body.add(_smallest(np.cumsum(lengths))),
            "items": _column(column.explode(empty_as_null=False, keep_nulls=False), body),
        }
    if column.dtype == pl.Boolean:
        return found | {"kind": "boolean", "values": body.add(column.fill_null(False).to_numpy().astype(np.uint8))}
    if column.dtype.is_integer():
        return found | {"kind": "number", "values": body.add(_smallest(column.fill_null(0).to_numpy()))}
    if column.dtype.is_float():
        return found | {"kind": "number", "values": body.add(column.fill_null(0).to_numpy())}
    strings = column.cast(pl.String).fill_null("")
    named = strings.unique(maintain_order=True)
    numbers = strings.replace_strict(named, np.arange(len(named)), return_dtype=pl.UInt32) if len(named) else strings
    codes = numbers.to_numpy() if len(named) else np.zeros(0, np.uint32)
    return found | {"kind": "string", "named": named.to_list(), "values": body.add(_smallest(codes))}


def _smallest(values: np.ndarray) -> np.ndarray:
    """Integers in the smallest type that holds them all; beyond 32 bits as float64, exact up to 2⁵³."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    fits = (kind for kind in INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(next(fits, np.float64))
