"""Fit and score the probes of one kind of features at one place: every cell of its axes."""

from tessera.base import hive
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.probes.task import Task

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    task = Task(read_examples(inputs.examples), **params.settings)
    stored = Stored(inputs.examples, inputs.features, dict(snakemake.wildcards.items()))
    features, outputs = kind(params.kind), hive.by(snakemake.output, *params.axes)
    for place, cell in task.probe(features, stored, params.axes):
        log.info("%s: %s", place, cell.scores.to_dicts())
        cell.write(outputs[tuple(place.values())])
