"""Draw one figure of a transfer scenario."""

from pathlib import Path

import polars as pl
from tessera import figures
from tessera.job import job

with job(snakemake):
    best = pl.read_parquet(snakemake.input[0]).filter(scenario=snakemake.wildcards.scenario)
    draw = {"matrix": figures.transfer_matrix, "curves": figures.transfer_curves}[snakemake.wildcards.figure]
    figures.save(draw(best), Path(snakemake.output.pdf), Path(snakemake.output.png))
