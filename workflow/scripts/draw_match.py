"""Draw one figure of a match."""

from pathlib import Path

import polars as pl
from tessera import match_figures
from tessera.figures import save
from tessera.job import job

with job(snakemake):
    draw = {"correlations": match_figures.correlations, "scores": match_figures.scores}[snakemake.wildcards.figure]
    table = pl.read_parquet(snakemake.input[snakemake.wildcards.figure]).filter(match=snakemake.wildcards.match)
    save(draw(table), Path(snakemake.output.pdf), Path(snakemake.output.png))
