"""Turn tables into pages of the report."""

from pathlib import Path

import polars as pl
from tessera.base.files import atomic
from tessera.base.script import script
from tessera.report import pages
from tessera.results.catalogue import TABLES
from tessera.study.config import load

with script(snakemake):
    inputs, outputs = snakemake.input, dict(snakemake.output.items())
    found = {Path(file).stem: pl.read_parquet(file) for file in inputs.tables}
    made = {"study": pages.study_page(load(snakemake.config), *map(pl.read_parquet, (inputs.cells, inputs.provenance)))}
    made["runtimes"] = pages.runtimes_page(Path(outputs["runtimes"]).parents[1] / "benchmarks")
    made |= {name: pages.table_page(TABLES[name], table) for name, table in found.items()}
    for name, file in outputs.items():
        with atomic(file) as part:
            part.write_text(made[name], encoding="utf-8")
