"""Merge every cell into the tables."""

import polars as pl
from tessera import provenance, tables
from tessera.base.files import write_parts
from tessera.base.script import job
from tessera.examples.digests import check_sources
from tessera.examples.examples import describe, read_examples
from tessera.results.warnings import warning_table

with job(snakemake) as log:
    settings, inputs = snakemake.params, snakemake.input
    check_sources(inputs.examples)
    examples = dict(zip(settings.datasets, inputs.examples, strict=True))
    facts = provenance.collect(inputs.summaries, examples, snakemake.config)
    write = provenance.table_writer(dict(snakemake.output.items()), facts)
    cells = {
        part: {kind: inputs[f"{kind}_{part}"] for kind in ("sae", "hidden", "tfidf", "length", "pixels")}
        for part in ("scores", "predictions", "coefficients")
    }
    scores = tables.with_control(tables.merge_cells(cells["scores"]).collect(), settings.controls)
    predictions = tables.merge_cells(cells["predictions"])
    write("scores", scores)
    write("best", tables.best_cells(scores))
    write("classes", tables.per_class(predictions))
    write("predictions", predictions.collect())
    write_parts(snakemake.output.coefficients, tables.merge_in_parts(cells["coefficients"]["sae"]), facts)
    saes = tables.sae_table(inputs.summaries, inputs.qualities, settings.published_l0)
    write("saes", saes)
    described = [
        describe(read_examples(file)).insert_column(0, pl.lit(data).alias("data")) for data, file in examples.items()
    ]
    datasets = tables.data_table(pl.concat(described), inputs.summaries)
    write("datasets", datasets)
    write("provenance", provenance.fact_table(facts))
    write("warnings", warning_table(scores, saes, datasets, provenance.fact_table(facts)))
    log.info("%d rows of scores", len(scores))
