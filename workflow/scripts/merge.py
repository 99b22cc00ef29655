"""Merge the files of every place into one table."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.catalogue import TABLES
from tessera.results.merging import scan
from tessera.results.writing import Writer

with script(snakemake):
    inputs, table = snakemake.input, snakemake.params.table
    writer = Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.provenance))
    writer.write(**{table: scan(inputs.parts).collect().select(TABLES[table].columns)})
