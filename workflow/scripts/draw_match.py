"""Draw the figures of a match."""

from pathlib import Path

import polars as pl
from tessera import match_figures
from tessera.base.script import job
from tessera.report.style import save

with job(snakemake):
    for draw, table, *files in zip(
        (match_figures.correlations, match_figures.scores),
        snakemake.input,
        snakemake.output.pdf,
        snakemake.output.png,
        strict=True,
    ):
        save(draw(pl.read_parquet(table).filter(match=snakemake.wildcards.match)), *map(Path, files))
