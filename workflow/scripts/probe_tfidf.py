"""Baseline: the same probe on TF-IDF of words or characters."""

import polars as pl

from tessera.baselines import tfidf
from tessera.job import job
from tessera.probe import Task

with job(snakemake) as log:
    task = Task(pl.read_parquet(snakemake.input.examples), **snakemake.params.settings)
    cell = task.run(tfidf(task.examples["text"].to_list(), task.train_E, snakemake.wildcards.pooling))
    log.info("%s", cell.scores.to_dicts())
    cell.write(snakemake.output)
