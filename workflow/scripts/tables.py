"""Merge every cell into the tables."""

import polars as pl
from tessera import tables
from tessera.data import describe, read_examples
from tessera.io import write_table
from tessera.job import job
from tessera.sources import check_sources

with job(snakemake) as log:
    settings, inputs = snakemake.params, snakemake.input
    check_sources(inputs.examples)
    cells = {
        part: {kind: inputs[f"{kind}_{part}"] for kind in ("sae", "hidden", "tfidf", "length", "pixels")}
        for part in ("scores", "predictions", "coefficients")
    }
    scores = tables.with_control(tables.merge_cells(cells["scores"]).collect(), settings.controls)
    predictions = tables.merge_cells(cells["predictions"])
    write_table(snakemake.output, "scores", scores)
    write_table(snakemake.output, "best", tables.best_cells(scores))
    write_table(snakemake.output, "classes", tables.per_class(predictions))
    write_table(snakemake.output, "predictions", predictions.collect())
    write_table(snakemake.output, "coefficients", tables.merge_cells({"sae": cells["coefficients"]["sae"]}).collect())
    write_table(snakemake.output, "saes", tables.sae_table(inputs.summaries, inputs.qualities, settings.published_l0))
    described = [
        describe(read_examples(file)).insert_column(0, pl.lit(data).alias("data"))
        for data, file in zip(settings.datasets, inputs.examples, strict=True)
    ]
    write_table(snakemake.output, "datasets", tables.data_table(pl.concat(described), inputs.summaries))
    log.info("%d rows of scores", len(scores))
