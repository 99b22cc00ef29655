"""Baseline: the same probe on hidden states pooled over the same content tokens, standardised."""

from pathlib import Path

from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.hidden import read_hidden
from tessera.features.spaces import standardise
from tessera.probes.task import Task

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    files = [Path(shard) / f"hidden/layer={snakemake.wildcards.layer}.parquet" for shard in snakemake.input.shards]
    for pooling in snakemake.params.poolings:
        hidden_ED = read_hidden(files, pooling)
        cell = task.run(standardise(hidden_ED[task.train_E])(hidden_ED))
        log.info("%s: %s", pooling, cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if f"/pooling={pooling}/" in file)
