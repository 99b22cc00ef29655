"""Merge the evidence of every place into tables."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.evidence_tables import evidence_tables, in_parts
from tessera.results.writing import Writer

with script(snakemake) as log:
    parts = {part: [files] if isinstance(files, str) else files for part, files in snakemake.input.items()}
    writer = Writer(dict(snakemake.output.items()), provenance.passed_on(parts.pop("provenance")[0]))
    writer.write_parts("decision_latents", in_parts("decision_latents", parts.pop("decision_latents")))
    tables = evidence_tables(parts, snakemake.params.k)
    writer.write(**tables)
    log.info("%s", tables["evidence_claims"].to_dicts())
