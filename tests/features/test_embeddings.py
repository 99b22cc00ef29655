"""Sentence embeddings as features: read in the order of the examples, at the models that the config names."""

import numpy as np
import pyarrow as pa
from studies import study_of
from tessera.base.files import write_parquet
from tessera.features.embeddings import read_embeddings
from tessera.features.registry import kind


def test_rows_are_in_the_order_of_the_examples(tmp_path):
    vector_ED = np.arange(12, dtype=np.float32).reshape(6, 2)
    for shard, examples in enumerate(([2, 0, 1], [5, 3, 4])):  # as batches leave them
        flat = pa.array(vector_ED[examples].ravel())
        table = {"example": pa.array(examples, pa.uint32()), "embedding": pa.FixedSizeListArray.from_arrays(flat, 2)}
        write_parquet(tmp_path / f"{shard}.parquet", pa.table(table))
    assert np.array_equal(read_embeddings([tmp_path / "1.parquet", tmp_path / "0.parquet"]), vector_ED)


def test_a_study_has_them_of_the_models_that_it_names():
    models = {name: {"passes": []} for name in ("m", "n", "r")} | {"r.draw1": {"passes": []}}
    one = kind("embeddings")
    for named, places in (([], []), (["n"], ["n"]), (["r", "m"], ["m", "r", "r.draw1"])):
        study = study_of(models=models, baselines={"embeddings": named})
        assert bool(one.asked(study)) == bool(named)
        assert [place["model"] for place in one.places(study)] == places
    files = one.inputs(study_of(), range(2), "d", model="m")
    assert files == [f"results/embeddings/model=m/data=d/shard={shard}/embeddings.parquet" for shard in range(2)]
