"""What steering along a direction changed, prompt by prompt: effects, harms, what readers say of what was written."""

from pathlib import Path

import polars as pl
from tessera.base import hive
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.probes.task import Task
from tessera.steering.reading import WRITTEN, measure

with script(snakemake) as log:
    inputs, params, asked = snakemake.input, snakemake.params, snakemake.params.asked
    tasks = {hive.keys(file)["data"]: Task(read_examples(file), **params.settings) for file in inputs.examples}
    values, texts = measure(
        Path(inputs.steered),
        tasks,
        params.key,
        asked["class"],
        choice=asked.get("answers", {}).get("choice"),
        answered=inputs.answered or None,
        shards=inputs.shards,
        layer=params.layer,
        written=inputs.written,
        judged=inputs.judged or None,
    )
    log.info("%d values", len(values))
    texts = pl.DataFrame(schema=WRITTEN) if texts is None else texts
    write_named(snakemake.output, {"values": values, "texts": texts})
