"""Every latent that fires on a data set: where, how well it tells a class, what it adds to the best cell's decision."""

from tessera.base.files import write_named
from tessera.base.script import script
from tessera.evidence.reading import Place, weigh

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    place = Place(dict(snakemake.wildcards.items()), *files, params.settings)
    found = weigh(place, ids=params.ids, latents=params.latents)
    log.info("%d rows of latents; %s", len(found["latents"]), found["shown"].rows())
    write_named(snakemake.output, found)
