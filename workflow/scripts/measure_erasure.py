"""What fresh probes still tell of a label that was erased, and of other labels; what answers and other texts did."""

from pathlib import Path

from tessera.base import hive
from tessera.base.files import write_named
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.probes.task import Task
from tessera.steering.reading import left

with script(snakemake) as log:
    inputs, params, asked = snakemake.input, snakemake.params, snakemake.params.asked
    found, rests = left(
        {hive.keys(file)["data"]: Task(read_examples(file), **params.settings) for file in inputs.examples},
        snakemake.wildcards.eraser,
        Path(inputs.erased),
        Path(inputs.plain),
        Path(inputs.random) if inputs.random else None,
        answered=inputs.answered or None,
        choice=asked.get("answers", {}).get("choice"),
    )
    log.info("%s", rests.select("claim", "difference", "p").rows())
    write_named(snakemake.output, {"erasure": found, "claims": rests})
