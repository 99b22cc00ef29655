"""Fit and score the probes of one layer and width: every pooling, threshold and selection."""

from pathlib import Path

from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.pooling import read_features
from tessera.features.spaces import Thresholding
from tessera.probes.task import Task

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    for pooling, file in zip(snakemake.params.poolings, snakemake.input.features, strict=True):
        features_EW = read_features(Path(file))
        for threshold in snakemake.params.thresholds:
            fitted = Thresholding.fit(features_EW[task.train_E], threshold)
            features_EK = fitted.apply(features_EW)
            for selection, selected in task.select(features_EK, snakemake.params.selections).items():
                cell = task.run(features_EK, fitted, selected)
                log.info("%s, threshold %s, selection %s: %s", pooling, threshold, selection, cell.scores.to_dicts())
                place = f"/pooling={pooling}/threshold={threshold}/selection={selection}/"
                cell.write(out for out in snakemake.output if place in out)
