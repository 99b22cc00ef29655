"""Fit and score the probes of one layer and width: every pooling, every threshold."""

from pathlib import Path

from tessera.data import read_examples
from tessera.job import job
from tessera.pooling import read_features
from tessera.probe import Task, Thresholding

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    for pooling, file in zip(snakemake.params.poolings, snakemake.input.features, strict=True):
        features_EW = read_features(Path(file))
        for threshold in snakemake.params.thresholds:
            fitted = Thresholding.fit(features_EW[task.train_E], threshold)
            cell = task.run(fitted.apply(features_EW), fitted)
            log.info("%s, threshold %s: %s", pooling, threshold, cell.scores.to_dicts())
            cell.write(out for out in snakemake.output if f"/pooling={pooling}/threshold={threshold}/" in out)
