"""Fit and score one kind of probe on one kind of features at one place: every cell of its axes."""

from tessera.base import hive
from tessera.base.script import script
from tessera.probes.task import probe_cells

with script(snakemake) as log:
    inputs, params, outputs = snakemake.input, snakemake.params, hive.by(snakemake.output, *snakemake.params.axes)
    place = dict(snakemake.wildcards.items())
    files = params.kind, inputs.examples, inputs.features
    cells = probe_cells(*files, place, params.axes, params.settings, params.repeats, params.probe, params.device)
    for here, cell in cells:
        log.info("%s: %s", here, cell.scores.to_dicts())
        cell.write(outputs[tuple(here.values())])
