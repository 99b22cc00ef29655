"""Merge every transfer into tables."""

import polars as pl
from tessera import provenance, tables
from tessera.base.script import job
from tessera.transfer.crossings import crossings

with job(snakemake) as log:
    inputs = snakemake.input
    write = provenance.table_writer(dict(snakemake.output.items()), provenance.passed_on(inputs.provenance))
    kinds = ("sae", "hidden", "tfidf", "pixels")
    scores = tables.merge_cells({kind: inputs[f"{kind}_scores"] for kind in kinds}).collect()
    scores = tables.with_control(scores, snakemake.params.controls).drop("data", "selection")
    place = ["scenario", "source", "target", "condition", "fraction"]
    scores = scores.select(*place, pl.exclude(place))
    best = tables.best_transfers(scores)
    predictions = tables.merge_cells({kind: inputs[f"{kind}_predictions"] for kind in kinds}).drop("data", "selection")
    settings = {"resamples": snakemake.params.resamples, "seed": snakemake.params.seed}
    write("transfer", scores)
    write("transfer_best", best)
    write("crossings", crossings(best, predictions, **settings))
    write("transfer_predictions", predictions.collect())
    log.info("%d rows of transfer", len(scores))
