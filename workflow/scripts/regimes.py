"""Fit and score one kind of probe on one kind of features at one place, in every regime: every cell of its axes."""

from tessera.base.files import write_named
from tessera.base.script import script
from tessera.probes.regimes import regime_cells

with script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    files, place = (params.kind, inputs.examples, inputs.features), dict(snakemake.wildcards.items())
    asked = params.axes, params.settings, params.levels, params.repeats, params.probe, params.device
    write_named(snakemake.output, regime_cells(*files, place, *asked))
