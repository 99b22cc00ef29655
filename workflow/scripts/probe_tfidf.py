"""Baseline: the same probe on TF-IDF of words or characters."""

from tessera.baselines import tfidf
from tessera.data import read_examples
from tessera.job import job
from tessera.probe import Task

with job(snakemake) as log:
    task = Task(read_examples(snakemake.input.examples), **snakemake.params.settings)
    texts = task.examples["text"].to_numpy()
    for unit in snakemake.params.units:
        cell = task.run(tfidf(texts[task.train_E], unit)(texts))
        log.info("%s: %s", unit, cell.scores.to_dicts())
        cell.write(file for file in snakemake.output if f"/unit={unit}/" in file)
