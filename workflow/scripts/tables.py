"""Merge every cell into the tables."""

import polars as pl
from tessera import tables
from tessera.data import describe, read_examples
from tessera.io import atomic, write_parquet
from tessera.job import job


def write(name: str, table: pl.DataFrame) -> None:
    """As parquet, and as csv where the rules ask for it."""
    write_parquet(snakemake.output[name], table)
    if f"{name}_csv" in dict(snakemake.output.items()):
        with atomic(snakemake.output[f"{name}_csv"]) as part:
            table.write_csv(part, float_precision=6)


with job(snakemake) as log:
    settings, inputs = snakemake.params, snakemake.input
    cells = {
        part: {kind: inputs[f"{kind}_{part}"] for kind in ("sae", "hidden", "tfidf", "pixels")}
        for part in ("scores", "predictions", "coefficients")
    }
    scores = tables.with_control(tables.merge_cells(cells["scores"]).collect(), settings.controls)
    predictions = tables.merge_cells(cells["predictions"])
    best = tables.best_cells(scores)
    write("scores", scores)
    write("best", best)
    write("comparisons", tables.compare(best, predictions, resamples=settings.resamples, seed=settings.seed))
    write("classes", tables.per_class(predictions))
    write("predictions", predictions.collect())
    write("coefficients", tables.merge_cells({"sae": cells["coefficients"]["sae"]}).collect())
    write("saes", tables.sae_table(inputs.summaries, inputs.qualities, settings.published_l0))
    described = [
        describe(read_examples(file)).insert_column(0, pl.lit(data).alias("data"))
        for data, file in zip(settings.datasets, inputs.examples, strict=True)
    ]
    write("datasets", tables.data_table(pl.concat(described), inputs.summaries))
    log.info("%d rows of scores", len(scores))
