"""The texts that the shown latents fire on, how specific each is, and how well it separates its class."""

import polars as pl
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.evidence.reading import Place, read_contexts

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    place = Place(dict(snakemake.wildcards.items()), *files, params.settings)
    found = read_contexts(place, pl.read_parquet(inputs.shown), inputs.neutral, params.contexts)
    if not inputs.neutral:
        log.info("no neutral texts: published SAEs need evidence.neutral to tell how specific a latent is")
    write_named(snakemake.output, found)
