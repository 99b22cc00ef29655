"""Turn an SAE saved or published with SAELens into the encoder that the extractor reads, or into its decoder."""

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
    outputs = {part: Path(file) for part, file in snakemake.output.items()}
    asked = {"width": params.width, "layer": int(snakemake.wildcards.layer), "hook": params.hook}
    asked |= {"model": params.model, "same_model": same_model}
    files = outputs.get("encoder"), outputs.get("decoder")
    if params.release:
        from tessera.saes.saelens import fetch  # imports sae_lens

        with tempfile.TemporaryDirectory(dir=next(filter(None, files)).parent) as folder:
            fetch(*params.release, Path(folder))
            config = prepare(Path(folder), *files, **asked)
    else:
        saved = Path(snakemake.input[0])
        config = prepare(saved if saved.is_dir() else saved.parent, *files, **asked)
    log.info("%s", config)
    if "encoder" in outputs:
        with atomic(outputs["digest"]) as part:
            part.write_text(json.dumps(f"sha256:{sha256(outputs['encoder'])}"))
