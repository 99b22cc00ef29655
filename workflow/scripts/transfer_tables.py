"""Merge every transfer into tables."""

from tessera.base.script import script
from tessera.results import merging, provenance, tables
from tessera.results.writing import Writer
from tessera.transfer.crossings import crossings

with script(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    merged = merging.merge_cells(inputs.scores).collect()
    scores = tables.transfer_table(merged, params.controls, params.frozen)
    predictions = merging.merge_cells(inputs.predictions).drop("data", "selection", "probe")
    best = tables.best_transfers(scores)
    Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.provenance)).write(
        transfer=scores,
        transfer_best=best,
        crossings=crossings(best, predictions, params.learnt, resamples=params.resamples, seed=params.seed),
        transfer_predictions=predictions.collect(),
    )
    log.info("%d rows of transfer", len(scores))
