"""Baseline: the same probe on the pixels of images, resized and standardised."""

from pathlib import Path

from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.pixels import pixels
from tessera.features.spaces import standardise
from tessera.probes.task import Task

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    for unit in snakemake.params.units:
        pixels_EP = pixels(Path(snakemake.input.examples), unit)
        cell = task.run(standardise(pixels_EP[task.train_E])(pixels_EP))
        log.info("%s: %s", unit, cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if f"/unit={unit}/" in file)
