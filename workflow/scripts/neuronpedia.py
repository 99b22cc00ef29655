"""Write an SAE's shown latents and their contexts as Neuronpedia imports them."""

from pathlib import Path

import polars as pl
from tessera.base import hive
from tessera.base.script import script
from tessera.exports.neuronpedia import Looked, write_neuronpedia
from tessera.saes.encoders import read_about

with script(snakemake) as log:
    inputs, place = snakemake.input, dict(snakemake.wildcards.items())
    looked = []
    for file in inputs.contexts:
        data = hive.keys(file)["data"]
        shards = [Path(shard) for shard in hive.at(inputs.shards, data=data)]
        looked.append(Looked(data, pl.read_parquet(file), shards))
    about, writes = read_about(inputs.decoder), pl.read_parquet(inputs.writes)
    write_neuronpedia(Path(snakemake.output[0]), place, about, looked, writes, snakemake.params.release)
