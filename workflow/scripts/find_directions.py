"""A direction to steer along, from the labels of a data set, and its controls."""

from pathlib import Path

from tessera.base.files import write_named
from tessera.base.script import script
from tessera.evidence.reading import Place
from tessera.steering.directions import directions, tells
from tessera.steering.reading import source_of

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    asked, settings = params.asked, params.settings
    place = Place(params.place, inputs.examples, inputs.features, inputs.cells, inputs.shards, settings)
    source = source_of(place, Path(inputs.decoder), params.key, asked["class"], asked["k"])
    found = directions(snakemake.wildcards.direction, source, asked["draws"])
    log.info("%s", found["latents"].to_list())
    write_named(snakemake.output, {"directions": found, "tells": tells(source, found)})
