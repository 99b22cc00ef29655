"""Why each test example was decided as it was: what each latent adds to the decision, and where it fires."""

from tessera.base.files import write_parquet, write_parts
from tessera.base.script import script
from tessera.evidence.reading import Place, explain_decisions

with script(snakemake) as log:
    inputs, outputs = snakemake.input, snakemake.output
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    decided, listed = explain_decisions(Place(dict(snakemake.wildcards.items()), *files, snakemake.params.settings))
    log.info("%d decisions on test examples", len(decided))
    write_parquet(outputs.decisions, decided)
    write_parts(outputs.decision_latents, listed)
