"""Hold the latents of SAEs, and those that probes decide by, against directions that are known."""

from tessera.base.script import script
from tessera.evidence.recovery import recover
from tessera.results import provenance
from tessera.results.tables import with_draws
from tessera.results.writing import Writer

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    truths = dict(zip(params.models, inputs.truths, strict=True))
    tables = recover(truths, inputs.decoders, inputs.latents, params.seed)
    tables["recovery"] = with_draws(tables["recovery"], params.drawn)
    Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.provenance)).write(**tables)
    log.info("%s", tables["recovery"].to_dicts())
