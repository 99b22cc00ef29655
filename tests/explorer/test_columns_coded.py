"""Frames come back as they were, read by a decoder that shares nothing with the encoder but the format."""

import json
import struct

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tessera.explorer.columns import encode

CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "f4": "f", "f8": "d"}


def decoded(content):
    """What is said of a piece, its frames as lists of Python values, and the type that each column is stored in."""
    (length,) = struct.unpack_from("<I", content)
    header, body = json.loads(content[4 : 4 + length]), content[4 + length :]
    assert (4 + length) % 8 == 0

    def numbers(place):
        assert place["at"] % 8 == 0
        return list(struct.unpack_from(f"<{place['size']}{CODES[place['type']]}", body, place["at"]))

    def values(column):
        if column["kind"] == "list":
            items, ends = values(column["items"]), numbers(column["ends"])
            found = [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        else:
            found = numbers(column["values"])
        if column["kind"] == "string":
            found = [column["named"][code] for code in found]
        if column["kind"] == "boolean":
            found = [value == 1 for value in found]
        valid = numbers(column["valid"]) if "valid" in column else [1] * len(found)
        return [value if there else None for value, there in zip(found, valid, strict=True)]

    frames = {
        name: {"rows": one["rows"]} | {column: values(stored) for column, stored in one["columns"].items()}
        for name, one in header["frames"].items()
    }
    return header["about"], frames, header["frames"]


def back(frame):
    found = decoded(encode({}, {"one": frame}))[1]["one"]
    assert found.pop("rows") == len(frame)
    return pl.DataFrame(found, schema=frame.schema, strict=False)  # integers beyond 32 bits come as floats


FRAMES = {
    "signs": pl.DataFrame({"a": [-1, 0, 1], "b": [-129, 0, 127], "c": [-(2**31), 0, 2**31 - 1]}),
    "beyond 32 bits": pl.DataFrame({"a": [2**53, 0], "b": [-(2**33), 1], "c": [2**32, None]}),
    "nulls": pl.DataFrame({"n": [None, 1], "x": [0.5, None], "s": [None, "a"], "b": [True, None], "l": [None, [1]]}),
    "only nulls": pl.DataFrame(
        {"n": [None], "s": [None], "x": [None], "b": [None], "l": [None]},
        schema={"n": pl.Int64, "s": pl.String, "x": pl.Float32, "b": pl.Boolean, "l": pl.List(pl.String)},
    ),
    "scripts": pl.DataFrame({"s": ["👩🏽‍🚀 é", "שלום \u200fעולם", "", '"\\\n\u2028\x00', "👩🏽‍🚀 é"]}),
    "lists": pl.DataFrame({"l": [[1, None], [], None, [3]]}, schema={"l": pl.List(pl.UInt32)}),
    "lists of strings": pl.DataFrame({"l": [["א", None], [], ["a", "א"], None]}),
    "empty lists": pl.DataFrame({"l": [[], []]}, schema={"l": pl.List(pl.Float32)}),
    "floats": pl.DataFrame({"x": [float("nan"), 0.1, -0.0], "y": [float("inf"), None, 1e300]}),
    "no rows": pl.DataFrame(schema={"n": pl.Int64, "s": pl.String, "x": pl.Float64, "l": pl.List(pl.String)}),
    "categories": pl.DataFrame({"c": ["b", "a", None]}).cast(pl.Enum(["a", "b"])),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back(name):
    assert_frame_equal(back(FRAMES[name]), FRAMES[name])


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([0, 255], "u1"),
        ([-128, 127], "i1"),
        ([256], "u2"),
        ([-129], "i2"),
        ([65_536], "u4"),
        ([-1, 32_768], "i4"),
        ([2**32], "f8"),
        ([-1, 2**31], "f8"),
        ([], "u1"),
    ],
)
def test_integers_take_the_smallest_type(values, stored):
    frame = pl.DataFrame({"n": values}, schema={"n": pl.Int64})
    about = decoded(encode({}, {"one": frame}))[2]["one"]["columns"]["n"]
    assert about["values"]["type"] == stored
    assert_frame_equal(back(frame), frame)


def test_several_frames_and_what_is_said_of_them():
    about, frames, _ = decoded(encode({"é": [1, None]}, {"a": pl.DataFrame({"n": [1]}), "b": pl.DataFrame()}))
    assert about == {"é": [1, None]}
    assert frames == {"a": {"rows": 1, "n": [1]}, "b": {"rows": 0}}
