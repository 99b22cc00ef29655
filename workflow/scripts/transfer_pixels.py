"""Fit the probes of pixels on a source, score them on all its targets."""

from pathlib import Path

from tessera.base.files import write_named
from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.pixels import pixels
from tessera.features.spaces import standardise
from tessera.transfer.scenario import Transfer

with job(snakemake) as log:
    data, files = snakemake.params.data, snakemake.input.examples
    examples = dict(zip(data, map(read_examples, files), strict=True))
    transfer = Transfer(examples, **snakemake.params.scenario, **snakemake.params.settings)
    for unit in snakemake.params.units:
        features = {name: pixels(Path(file), unit) for name, file in zip(data, files, strict=True)}
        found = transfer.run(features, standardise)
        log.info("%s: %s", unit, found["scores"].to_dicts())
        write_named((out for out in snakemake.output if f"/unit={unit}/" in out), found)
