"""Merge what interventions did in every scenario into tables."""

from tessera.base.script import script
from tessera.results import provenance
from tessera.results.intervention_tables import intervention_tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    parts = {part: [files] if isinstance(files, str) else files for part, files in snakemake.input.items()}
    writer = Writer(dict(snakemake.output.items()), provenance.passed_on(parts.pop("provenance")[0]))
    tables = intervention_tables(parts, parts.pop("steered"), snakemake.params.scenarios, snakemake.params.seed)
    writer.write(**tables)
    log.info("%s", tables["intervention_claims"].select("claim", "on", "against", "difference", "p").rows())
