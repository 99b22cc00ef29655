"""Collect what the results are computed from: facts that shards and examples carry, the config, the code."""

from tessera.base.script import script
from tessera.examples.digests import check_sources
from tessera.results import provenance
from tessera.results.writing import Writer

with script(snakemake) as log:
    inputs = snakemake.input
    check_sources(inputs.examples)
    facts = provenance.collect([*inputs.summaries, *inputs.embeddings], inputs.examples, snakemake.config)
    Writer(dict(snakemake.output.items()), facts).write(provenance=provenance.fact_table(facts))
    log.info("%d facts", len(facts))
