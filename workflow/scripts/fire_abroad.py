"""Do the latents shown of a source fire for their class in the targets of a scenario?"""

import polars as pl
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.reading import read_abroad

with script(snakemake) as log:
    inputs = snakemake.input
    found = read_abroad(
        pl.read_parquet(inputs.shown),
        inputs.examples,
        inputs.shards,
        dict(snakemake.wildcards.items()),
        snakemake.params.settings,
    )
    log.info("%s", found.to_dicts())
    write_parquet(snakemake.output[0], found)
