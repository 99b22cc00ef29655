"""Turn an SAE saved or published with SAELens into the encoder that the extractor reads."""

import tempfile
from pathlib import Path

from tessera.job import job
from tessera.sae import prepare

with job(snakemake) as log:
    cell = {"width": snakemake.params.width, "layer": int(snakemake.wildcards.layer)}
    out = Path(snakemake.output[0])
    if snakemake.params.release:
        from tessera.fetch import fetch  # imports sae_lens

        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            fetch(*snakemake.params.release, Path(folder))
            config = prepare(Path(folder), out, **cell)
    else:
        saved = Path(snakemake.input[0])
        config = prepare(saved if saved.is_dir() else saved.parent, out, **cell)
    log.info("%s", config)
