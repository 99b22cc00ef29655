"""Fit the probes of one kind of features at one place on a source, score them on all its targets."""

from tessera.base import hive
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.transfer.scenario import Transfer

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = {data: hive.one(inputs.examples, data=data) for data in params.data}
    transfer = Transfer(
        {data: read_examples(file) for data, file in files.items()}, **params.scenario, **params.settings
    )
    place = dict(snakemake.wildcards.items())
    stored = {data: Stored(file, hive.at(inputs.features, data=data), place) for data, file in files.items()}
    features, outputs = kind(params.kind), hive.by(snakemake.output, *params.axes)
    for here, found in transfer.probe(features, stored, params.axes):
        log.info("%s: %s", here, found["scores"].to_dicts())
        write_named(outputs[tuple(here.values())], found)
