"""Do the latents shown of a source fire for their class in the targets of a scenario?"""

import polars as pl
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.reading import read_abroad
from tessera.study import paths

with script(snakemake) as log:
    inputs, place = snakemake.input, dict(snakemake.wildcards.items())
    found = read_abroad(
        pl.read_parquet(inputs.shown),
        inputs.examples,
        inputs.shards,
        lambda folder: f"{folder}/{paths.LATENTS.format(**place)}",
        snakemake.params.settings,
    )
    log.info("%s", found.to_dicts())
    write_parquet(snakemake.output[0], found)
