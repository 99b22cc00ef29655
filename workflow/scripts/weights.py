"""What identifies a model's weights, once for all jobs that load them: the commit of the hub, or the files' hashes."""

import json

from tessera.base.files import atomic
from tessera.base.script import script
from tessera.models.weights import identify

with script(snakemake) as log:
    found = identify(snakemake.params.model, snakemake.input.get("folder") or None)
    log.info("%s", found)
    with atomic(snakemake.output[0]) as part:
        part.write_text(json.dumps(found))
