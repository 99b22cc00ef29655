"""Make the first page of the report."""

from pathlib import Path

import polars as pl
from tessera.base.files import atomic
from tessera.base.script import script
from tessera.report.home import home
from tessera.study.config import load

with script(snakemake):
    inputs = snakemake.input
    with atomic(snakemake.output[0]) as part:
        page = home(load(snakemake.config), pl.read_parquet(inputs.claims), Path(inputs.figure))
        part.write_text(page, encoding="utf-8")
