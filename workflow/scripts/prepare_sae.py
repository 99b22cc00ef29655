"""Turn an SAE saved by SAELens into the encoder that the extractor reads."""

from pathlib import Path

from tessera.job import job
from tessera.sae import prepare

with job(snakemake) as log:
    config = prepare(
        Path(snakemake.input[0]),
        Path(snakemake.output[0]),
        width=snakemake.params.width,
        layer=int(snakemake.wildcards.layer),
    )
    log.info("%s", config)
