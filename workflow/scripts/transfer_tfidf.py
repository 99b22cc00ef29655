"""Fit the probes of TF-IDF on a source, score them on all its targets."""

from functools import partial

from tessera.base.files import write_named
from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.tfidf import tfidf
from tessera.transfer.scenario import Transfer

with job(snakemake) as log:
    data = snakemake.params.data
    examples = dict(zip(data, map(read_examples, snakemake.input.examples), strict=True))
    transfer = Transfer(examples, **snakemake.params.scenario, **snakemake.params.settings)
    texts = {name: transfer.examples[name]["text"].to_numpy() for name in data}
    for unit in snakemake.params.units:
        found = transfer.run(texts, partial(tfidf, unit=unit))
        log.info("%s: %s", unit, found["scores"].to_dicts())
        write_named((out for out in snakemake.output if f"/unit={unit}/" in out), found)
