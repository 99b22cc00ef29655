"""Keys of paths, read from the right: a storage's prefix may hold equals signs of its own."""

import pytest
from tessera.base import hive

PREFIX = "s3://my=bucket/a=1/results/probes"
SAE = f"{PREFIX}/features=sae/model=m/layer=3/data=d/pooling=sum/threshold=q50/scores.parquet"
FILES = [
    f"results/x/data={data}/pooling={pooling}/{part}.parquet" for data in "ed" for pooling in "st" for part in "pq"
]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (SAE, {"features": "sae", "model": "m", "layer": "3", "data": "d", "pooling": "sum", "threshold": "q50"}),
        (f"{PREFIX}/features=sae/scores.parquet", {"features": "sae"}),
        ("results/activations/model=m/pass=0/shard=12", {"model": "m", "pass": "0", "shard": "12"}),  # a folder
        ("model=m/data=d/a.parquet", {"model": "m", "data": "d"}),
        ("data=a=b/a.parquet", {"data": "a=b"}),
        (f"{PREFIX}/scores.parquet", {}),
        ("scores.parquet", {}),
    ],
)
def test_keys_are_those_right_above_the_file(path, found):
    assert hive.keys(path) == found
    assert [*hive.keys(path)] == [*found]


def test_at_is_every_file_of_a_place_in_order():
    assert hive.at(FILES, data="d", pooling="t") == FILES[6:]
    assert hive.at(FILES, pooling="s") == [*FILES[0:2], *FILES[4:6]]
    assert hive.at(FILES) == FILES
    assert hive.at(FILES, data="f") == hive.at(FILES, width="1k") == []
    assert hive.at([SAE], a="1") == []  # of the prefix


def test_one_is_the_only_file_of_a_place():
    assert hive.one([SAE, *FILES], features="sae", layer="3") == SAE
    with pytest.raises(ValueError, match=r"2 files at .*'data': 'd'.*, not one"):
        hive.one(FILES, data="d", pooling="s")
    with pytest.raises(ValueError, match="0 files at"):
        hive.one(FILES, data="f")


def test_by_gives_the_files_of_each_place_in_the_order_given():
    assert hive.by(FILES, "data") == {("e",): FILES[:4], ("d",): FILES[4:]}
    found = hive.by(reversed(FILES), "pooling", "data")
    assert [*found] == [("t", "d"), ("s", "d"), ("t", "e"), ("s", "e")]
    assert found["t", "d"] == [FILES[7], FILES[6]]
    assert hive.by(FILES) == {(): FILES}
    assert hive.by([], "data") == {}
    with pytest.raises(KeyError):
        hive.by(FILES, "width")
