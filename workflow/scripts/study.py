"""Keep the study's config, every default filled in, beside its results."""

import json

import yaml
from tessera.base.files import atomic
from tessera.base.script import script

with script(snakemake), atomic(snakemake.output[0]) as part:
    config = json.loads(json.dumps(snakemake.params.config))  # no part twice, which YAML would make an alias of
    part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
