"""Fit the probes of one layer and width on a source, score them on all its targets: every pooling, every threshold."""

from functools import partial
from pathlib import Path

from tessera.base.files import write_named
from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.pooling import read_features
from tessera.features.spaces import Thresholding
from tessera.transfer.scenario import Transfer

with job(snakemake) as log:
    data, width = snakemake.params.data, snakemake.params.width
    examples = dict(zip(data, map(read_examples, snakemake.input.examples), strict=True))
    transfer = Transfer(examples, **snakemake.params.scenario, **snakemake.params.settings)
    for number, pooling in enumerate(snakemake.params.poolings):
        files = snakemake.input.features[number * len(data) : (number + 1) * len(data)]
        features = {name: read_features(Path(file), width) for name, file in zip(data, files, strict=True)}
        for threshold in snakemake.params.thresholds:
            found = transfer.run(features, partial(Thresholding.space, threshold=threshold))
            log.info("%s, threshold %s: %s", pooling, threshold, found["scores"].to_dicts())
            write_named((out for out in snakemake.output if f"/pooling={pooling}/threshold={threshold}/" in out), found)
