"""Draw one figure of a transfer scenario."""

from functools import partial
from pathlib import Path

import polars as pl
from tessera import figures, transfer_figures
from tessera.base.script import job

DRAW = {
    "matrix": transfer_figures.matrix,
    "matrix_intervals": partial(transfer_figures.matrix, intervals=True),
    "curves": transfer_figures.curves,
    "gap": transfer_figures.gap,
}

with job(snakemake):
    name, inputs = snakemake.wildcards.figure, snakemake.input
    table = pl.read_parquet(inputs.scores if name == "gap" else inputs.best)
    drawn = DRAW[name](table.filter(scenario=snakemake.wildcards.scenario))
    figures.save(drawn, Path(snakemake.output.pdf), Path(snakemake.output.png))
