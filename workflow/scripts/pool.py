"""Pool the latents of one layer and width to one sparse row per example, in every way the grid asks for."""

from pathlib import Path

from tessera.base.script import script
from tessera.features.pooling import pool_shards

with script(snakemake):
    cell = snakemake.wildcards
    shards = [Path(shard) / f"latents/layer={cell.layer}/width={cell.width}.parquet" for shard in snakemake.input]
    outputs = dict(zip(snakemake.params.poolings, map(Path, snakemake.output), strict=True))
    pool_shards(shards, outputs)
