"""Merge every transfer into tables."""

import polars as pl
from tessera import tables
from tessera.crossings import crossings
from tessera.io import write_table
from tessera.job import job

with job(snakemake) as log:
    inputs = snakemake.input
    kinds = ("sae", "hidden", "tfidf", "pixels")
    scores = tables.merge_cells({kind: inputs[f"{kind}_scores"] for kind in kinds}).collect()
    scores = tables.with_control(scores, snakemake.params.controls).drop("data", "selection")
    place = ["scenario", "source", "target", "condition", "fraction"]
    scores = scores.select(*place, pl.exclude(place))
    best = tables.best_transfers(scores)
    predictions = tables.merge_cells({kind: inputs[f"{kind}_predictions"] for kind in kinds}).drop("data", "selection")
    settings = {"resamples": snakemake.params.resamples, "seed": snakemake.params.seed}
    write_table(snakemake.output, "transfer", scores)
    write_table(snakemake.output, "transfer_best", best)
    write_table(snakemake.output, "crossings", crossings(best, predictions, **settings))
    write_table(snakemake.output, "transfer_predictions", predictions.collect())
    log.info("%d rows of transfer", len(scores))
