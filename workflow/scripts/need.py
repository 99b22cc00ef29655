"""What probes of later layers lose where latents are taken out of the model."""

from pathlib import Path

import polars as pl
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.evidence.reading import need
from tessera.examples.examples import read_examples
from tessera.probes.task import Task
from tessera.study.grid import parse_width

with script(snakemake) as log:
    inputs = snakemake.input
    task = Task(read_examples(inputs.examples), **snakemake.params.settings)
    width = parse_width(snakemake.wildcards.width)
    found = need(task, pl.read_parquet(inputs.sets), inputs.ablations, Path(inputs.decoder), width)
    log.info("%s", found["needed"].to_dicts())
    write_named(snakemake.output, found)
