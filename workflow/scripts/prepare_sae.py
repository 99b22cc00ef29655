"""Turn an SAE saved or published with SAELens into encoder and decoder, and take the digest of the encoder."""

import json
import tempfile
from pathlib import Path

from tessera.base.digests import sha256
from tessera.base.files import atomic
from tessera.base.script import script
from tessera.saes.preparing import prepare


def same_model(name: str, other: str) -> bool:
    from tessera.saes.saelens import same_model  # imports sae_lens

    return same_model(name, other)


with script(snakemake) as log:
    params = snakemake.params
    cell = {"width": params.width, "layer": int(snakemake.wildcards.layer), "hook": params.hook}
    identity = {"model": params.model, "same_model": same_model}
    out = Path(snakemake.output.encoder)
    files = (out, Path(snakemake.output.decoder))
    if params.release:
        from tessera.saes.saelens import fetch  # imports sae_lens

        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            fetch(*params.release, Path(folder))
            config = prepare(Path(folder), *files, **cell, **identity)
    else:
        saved = Path(snakemake.input[0])
        config = prepare(saved if saved.is_dir() else saved.parent, *files, **cell, **identity)
    log.info("%s", config)
    with atomic(snakemake.output.digest) as part:
        part.write_text(json.dumps(f"sha256:{sha256(out)}"))
