"""Pool the latents of one layer and width to one sparse row per example, in every way the grid asks for."""

from pathlib import Path

from tessera.base.script import script
from tessera.features.pooling import pool_folders

with script(snakemake):
    cell = snakemake.wildcards
    outputs = dict(zip(snakemake.params.poolings, map(Path, snakemake.output), strict=True))
    pool_folders([Path(shard) for shard in snakemake.input], outputs, layer=cell.layer, width=cell.width)
