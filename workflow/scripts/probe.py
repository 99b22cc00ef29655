"""Fit and score the probes of one feature matrix, one for each threshold."""

from pathlib import Path

import polars as pl

from tessera.job import job
from tessera.pooling import read_features
from tessera.probe import Task, Thresholding

with job(snakemake) as log:
    task = Task(pl.read_parquet(snakemake.input.examples), **snakemake.params.settings)
    features_EW = read_features(Path(snakemake.input.features))
    for threshold in snakemake.params.thresholds:
        fitted = Thresholding.fit(features_EW[task.train_E], threshold)
        cell = task.run(fitted.apply(features_EW), fitted)
        log.info("threshold %s: %s", threshold, cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if f"/threshold={threshold}/" in file)
