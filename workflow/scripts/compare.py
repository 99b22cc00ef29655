"""Compare two cells: how they differ in each metric, and on which test examples."""

import polars as pl
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.examples.splits import classes
from tessera.probes.compare import differences, disagreements
from tessera.results.writing import write_table

with script(snakemake) as log:
    inputs, outputs, params = snakemake.input, snakemake.output, snakemake.params
    left, right, examples = pl.read_parquet(inputs.left), pl.read_parquet(inputs.right), read_examples(inputs.examples)
    found = differences(left, right, classes(examples["label"]), resamples=params.resamples, seed=params.seed)
    write_table(outputs.differences_parquet, outputs.differences_csv, found)
    write_table(outputs.examples_parquet, outputs.examples_csv, disagreements(left, right, examples))
    log.info("%s", found.to_dicts())
