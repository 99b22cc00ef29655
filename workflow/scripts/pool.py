"""Pool the latents of one layer and width to one sparse row per example."""

from pathlib import Path

from tessera.job import job
from tessera.pooling import pool_shards

with job(snakemake):
    cell = snakemake.wildcards
    latents = f"latents/layer={cell.layer}/width={cell.width}.parquet"
    pool_shards([Path(shard) / latents for shard in snakemake.input], cell.pooling, Path(snakemake.output[0]))
