"""Score the probes of one SAE on the other's features through every pairing, in both directions, beside controls."""

import polars as pl
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.matching.reading import Reader, carry_all

with script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    readers = {
        side: Reader(place, *(inputs[f"{part}_{side}"] for part in ("features", "shards", "cells")))
        for side, place in params.sides.items()
    }
    random = {side: Reader(place, inputs[f"random_{side}"], [], []) for side, place in params.random.items()}
    asked = {name: params[name] for name in ("texts", "data", "same", "cells", "hidden_poolings", "settings")}
    for part, frame in carry_all(readers, random, inputs.examples, pl.read_parquet(inputs.pairings), **asked).items():
        write_parquet(snakemake.output[part], frame)
