"""Make the page that a study is looked at with."""

from pathlib import Path

from tessera.base import hive
from tessera.base.script import script
from tessera.explorer.page import write_page
from tessera.explorer.pieces import every_piece
from tessera.explorer.summary import summary
from tessera.study.config import load

with script(snakemake):
    inputs, outputs = snakemake.input, snakemake.output
    tables = {Path(file).stem: Path(file) for file in inputs.tables}
    examples = {hive.keys(file)["data"]: file for file in inputs.examples}
    write_page(outputs.page, outputs.pieces, *summary(load(snakemake.config), tables), every_piece(tables, examples))
