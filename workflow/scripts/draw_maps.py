"""Draw the examples of a data set in a plane: as latents have them, and as hidden states do."""

from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.maps import maps
from tessera.evidence.reading import Place

with script(snakemake):
    inputs, place = snakemake.input, dict(snakemake.wildcards.items())
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    write_parquet(snakemake.output[0], maps(Place(place, *files, snakemake.params.settings)))
