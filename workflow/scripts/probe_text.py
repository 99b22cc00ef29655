"""Baselines: the same probe on TF-IDF of words or characters, and on the length of a text."""

from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.length import lengths
from tessera.features.spaces import standardise
from tessera.features.tfidf import tfidf
from tessera.probes.task import Task

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    texts = task.examples["text"].to_numpy()
    for unit in snakemake.params.units:
        cell = task.run(tfidf(texts[task.train_E], unit)(texts))
        log.info("%s: %s", unit, cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if f"/unit={unit}/" in file)
    if snakemake.params.length:
        length_E4 = lengths(texts)
        cell = task.run(standardise(length_E4[task.train_E])(length_E4))
        log.info("length: %s", cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if "/length/" in file)
