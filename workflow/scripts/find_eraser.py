"""What to erase a label by: a projection, or latents to take out."""

from pathlib import Path

from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.reading import Place
from tessera.steering.erasers import erasers
from tessera.steering.reading import source_of

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    asked, settings = params.asked, params.settings
    place = Place(params.place, inputs.examples, inputs.features, inputs.cells, inputs.shards, settings)
    source = source_of(place, Path(inputs.decoder), params.key, asked["class"], asked["k"])
    found = erasers(snakemake.wildcards.eraser, source, asked["draws"])
    log.info("%d draws", len(found))
    write_parquet(snakemake.output[0], found)
