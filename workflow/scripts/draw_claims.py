"""Draw the claims, and what predicts behaviour."""

from pathlib import Path

import polars as pl
from tessera import claims_figures, figures
from tessera.base.script import job

with job(snakemake):
    for pdf, png in zip(snakemake.output.pdf, snakemake.output.png, strict=True):
        name = Path(pdf).stem
        drawn = getattr(claims_figures, name)(pl.read_parquet(snakemake.input[name]))
        figures.save(drawn, Path(pdf), Path(png))
