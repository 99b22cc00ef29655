"""Merge every transfer into tables."""

import polars as pl
from tessera import provenance, tables, transfer
from tessera.job import job

with job(snakemake) as log:
    inputs = snakemake.input
    examples = dict(zip(snakemake.params.datasets, inputs.examples, strict=True))
    facts = provenance.collect(inputs.summaries, examples, snakemake.config)
    write = provenance.table_writer(dict(snakemake.output.items()), facts)
    kinds = ("sae", "hidden", "tfidf")
    scores = tables.merge_cells({kind: inputs[f"{kind}_scores"] for kind in kinds}).collect()
    scores = tables.with_control(scores, snakemake.params.controls).drop("data")
    place = ["scenario", "source", "target", "condition", "fraction"]
    scores = scores.select(*place, pl.exclude(place))
    best = transfer.best_transfers(scores)
    write("transfer", scores)
    write("transfer_best", best)
    write("crossings", transfer.crossings(best))
    predictions = tables.merge_cells({kind: inputs[f"{kind}_predictions"] for kind in kinds})
    write("transfer_predictions", predictions.drop("data").collect())
    log.info("%d rows of transfer", len(scores))
