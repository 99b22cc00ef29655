"""Fit the probes of one kind of features at one place on a source, score them on all its targets."""

from tessera.base import hive
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.transfer.scenario import transfer_cells

with script(snakemake) as log:
    inputs, params, outputs = snakemake.input, snakemake.params, hive.by(snakemake.output, *snakemake.params.axes)
    files = params.kind, inputs.examples, inputs.features
    place = dict(snakemake.wildcards.items())
    asked = params.axes, params.scenario, params.settings, params.repeats
    for here, found in transfer_cells(*files, place, *asked):
        log.info("%s: %s", here, found["scores"].to_dicts())
        write_named(outputs[tuple(here.values())], found)
