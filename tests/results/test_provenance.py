"""Facts of where a result comes from."""

import hashlib

import polars as pl
from tessera.base.digests import config_sha256
from tessera.base.files import write_parquet
from tessera.examples.digests import with_sources
from tessera.results.catalogue import TABLES
from tessera.results.provenance import collect, fact_table, read_facts
from tessera.results.writing import Writer


def test_the_hash_of_a_config_is_of_its_values():
    config = {"a": [1, 2], "b": {3: ["x"]}}
    assert config_sha256(config) == config_sha256({"b": {"3": ["x"]}, "a": [1, 2]})
    assert config_sha256(config) != config_sha256({"a": [2, 1], "b": {3: ["x"]}})


def test_facts_travel_with_files_and_meet_in_the_tables(tmp_path):
    shard = [["model", "m", "model.safetensors", "sha256:1"]]
    other = [*shard, ["library", "torch", "activations", "2"]]
    for name, facts in (("0", shard), ("1", other)):
        write_parquet(tmp_path / name, pl.DataFrame({"x": [1]}), facts)
    write_parquet(tmp_path / "old", pl.DataFrame({"x": [1]}))
    assert read_facts(tmp_path / "1") == other and read_facts(tmp_path / "old") == []
    examples = tmp_path / "data=d" / "examples.parquet"
    write_parquet(examples, with_sources(pl.DataFrame({"id": ["0"]}), {"/some/where/rows.csv": "0" * 64}))
    summaries = [str(tmp_path / name) for name in ("0", "1", "old")]
    facts = collect(summaries, [str(examples)], {"seed": 0})
    table = fact_table(facts)
    assert len(table.unique()) == len(table)
    assert table["kind"].value_counts().sort("kind").rows()[:1] == [("code", 1)]
    found = {tuple(fact[:3]): fact[3] for fact in facts}
    assert found["data", "d", "examples.parquet"] == f"sha256:{hashlib.sha256(examples.read_bytes()).hexdigest()}"
    assert found["data", "d", "rows.csv"] == f"sha256:{'0' * 64}"
    assert found["config", "study", "as given"] == config_sha256({"seed": 0})
    outputs = {"provenance": tmp_path / "p.parquet", "provenance_csv": tmp_path / "p.csv"}
    writer = Writer(outputs | {"predictions": tmp_path / "u.parquet"}, facts)
    writer.write(provenance=table)
    writer.write_parts("predictions", [pl.DataFrame({column: [0] for column in TABLES["predictions"].columns})])
    assert read_facts(outputs["provenance"]) == read_facts(tmp_path / "u.parquet") == facts
    assert pl.read_csv(outputs["provenance_csv"]).equals(pl.read_parquet(outputs["provenance"]))
