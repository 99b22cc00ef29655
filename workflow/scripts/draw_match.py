"""Draw the figures of a match."""

from pathlib import Path

import polars as pl
from tessera import match_figures
from tessera.figures import save
from tessera.job import job

with job(snakemake):
    for draw, table, *files in zip(
        (match_figures.correlations, match_figures.scores),
        snakemake.input,
        snakemake.output.pdf,
        snakemake.output.png,
        strict=True,
    ):
        save(draw(pl.read_parquet(table).filter(match=snakemake.wildcards.match)), *map(Path, files))
