"""Write a probe as a folder that stands alone; of several cells, that of the best by cross-validation."""

from pathlib import Path

import polars as pl
from tessera.base import hive
from tessera.base.script import script
from tessera.exports.probe import best_of, write_probe
from tessera.models.weights import read_weights

AXES = ("model", "layer", "width")

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = best_of(inputs.cells)
    place = {axis: hive.keys(files[0])[axis] for axis in AXES}
    origin = next(one for one in params.origins if place.items() <= one.items())
    log.info("%s", files[0])
    write_probe(
        Path(snakemake.output[0]),
        files,
        inputs.examples,
        origin,
        read_weights(hive.one(inputs.weights, model=place["model"])),
        Path(hive.one(inputs.encoders, **place)),
        {Path(file).stem: pl.read_parquet(file) for file in inputs.tables},
    )
