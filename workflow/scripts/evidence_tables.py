"""Merge the evidence of every place into tables."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.evidence_tables import evidence_tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    parts = {part: [files] if isinstance(files, str) else files for part, files in snakemake.input.items()}
    writer = Writer(dict(snakemake.output.items()), provenance.passed_on(parts.pop("provenance")[0]))
    tables = evidence_tables(parts, snakemake.params.k)
    writer.write(**tables)
    log.info("%s", tables["evidence_claims"].to_dicts())
