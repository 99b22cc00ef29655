"""The sets of latents that are to be taken out of the model: those that decide, and others to compare with."""

from pathlib import Path

from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.reading import Place, read_sets

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    place = Place(dict(snakemake.wildcards.items()), *files, params.settings)
    found = read_sets(place, Path(inputs.decoder), **params.asked)
    log.info("%s", found.select("set", "latents").rows())
    write_parquet(snakemake.output[0], found)
