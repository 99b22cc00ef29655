"""Draw the figures of one stage of the catalogue from its tables."""

from pathlib import Path

import polars as pl
from tessera.base.script import script
from tessera.report.drawing import draw
from tessera.report.style import save

with script(snakemake):
    tables = {Path(file).stem: pl.read_parquet(file) for file in snakemake.input}
    wanted = zip(snakemake.params.figures, snakemake.output.pdf, snakemake.output.png, strict=True)
    for (table, figure, place), pdf, png in wanted:
        save(draw(figure, tables[table], place), Path(pdf), Path(png))
