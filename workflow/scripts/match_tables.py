"""Merge every match into tables, each side by its name."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.match_tables import match_tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    parts = dict(snakemake.input.items())
    writer = Writer(dict(snakemake.output.items()), provenance.passed_on(parts.pop("provenance")))
    tables = match_tables(parts, snakemake.params.matches)
    writer.write(**tables)
    log.info("%d rows of scores", len(tables["match_scores"]))
