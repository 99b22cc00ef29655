"""Merge every match into tables, each side by its name."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.match_tables import match_tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    inputs = snakemake.input
    parts = {name: inputs[name] for name in inputs.keys() if name != "provenance"}  # noqa: SIM118 (no mapping)
    tables = match_tables(parts, snakemake.params.matches)
    Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.provenance)).write(**tables)
    log.info("%d rows of scores", len(tables["match_scores"]))
