"""Merge the cells of every regime into a table, beside the plain ones."""

import polars as pl
from tessera.base.script import script
from tessera.results import merging, provenance, tables
from tessera.results.regime_tables import regime_table
from tessera.results.writing import Writer

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    merged = tables.with_draws(merging.merge_cells(inputs.scores).collect(), params.drawn)
    scores = tables.with_control(merged, params.controls, params.frozen)
    predictions = tables.with_draws(merging.merge_cells(inputs.predictions), params.drawn)
    plain = pl.read_parquet(inputs.plain_scores), pl.scan_parquet(inputs.plain_predictions)
    table = regime_table(scores, predictions, *plain)
    Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.plain_scores)).write(regimes=table)
    log.info("%d rows of regimes", len(table))
