"""Merge every transfer into tables."""

import polars as pl
from tessera import tables, transfer
from tessera.io import atomic, write_parquet
from tessera.job import job

with job(snakemake) as log:
    inputs = snakemake.input
    kinds = ("sae", "hidden", "tfidf")
    scores = tables.merge_cells({kind: inputs[f"{kind}_scores"] for kind in kinds}).collect()
    scores = tables.with_control(scores, snakemake.params.controls).drop("data", "selection")
    place = ["scenario", "source", "target", "condition", "fraction"]
    scores = scores.select(*place, pl.exclude(place))
    best = transfer.best_transfers(scores)
    found = {"transfer": scores, "transfer_best": best, "crossings": transfer.crossings(best)}
    for name, table in found.items():
        write_parquet(snakemake.output[name], table)
        with atomic(snakemake.output[f"{name}_csv"]) as part:
            table.write_csv(part, float_precision=6)
    predictions = tables.merge_cells({kind: inputs[f"{kind}_predictions"] for kind in kinds})
    write_parquet(snakemake.output.transfer_predictions, predictions.drop("data", "selection").collect())
    log.info("%d rows of transfer", len(scores))
