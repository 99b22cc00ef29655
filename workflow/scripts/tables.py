"""Merge every cell into the tables."""

import polars as pl
from tessera.base import hive
from tessera.base.script import script
from tessera.examples.digests import check_sources
from tessera.examples.examples import describe, read_examples
from tessera.results import merging, provenance, tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    check_sources(inputs.examples)
    facts = provenance.passed_on(inputs.provenance)
    writer = Writer(dict(snakemake.output.items()), facts)
    merged = tables.with_draws(merging.merge_cells(inputs.scores).collect(), params.drawn)
    scores = tables.with_control(merged, params.controls, params.frozen)
    predictions = tables.with_draws(merging.merge_cells(inputs.predictions), params.drawn)
    saes = tables.sae_table(inputs.summaries, inputs.qualities, params.published_l0)
    saes = tables.with_frozen(tables.with_draws(saes, params.drawn), params.frozen)
    norms = tables.norm_table(inputs.summaries)
    described = {data: describe(read_examples(hive.one(inputs.examples, data=data))) for data in params.datasets}
    datasets = tables.data_table(described, [*inputs.summaries], [*inputs.embeddings])
    origin = pl.read_parquet(inputs.provenance)
    writer.write(**tables.of_study(scores, predictions, saes, norms, datasets, origin))
    parts = merging.merge_in_parts(inputs.coefficients)
    writer.write_parts("coefficients", (tables.with_draws(part, params.drawn) for part in parts))
    log.info("%d rows of scores", len(scores))
