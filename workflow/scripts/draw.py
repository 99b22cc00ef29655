"""Draw the figures from the tables."""

from pathlib import Path

import polars as pl
from tessera import figures
from tessera.base.script import job

with job(snakemake):
    scores, best = pl.read_parquet(snakemake.input.scores), pl.read_parquet(snakemake.input.best)
    drawn = {"baselines": figures.baselines(best)}
    for model in snakemake.params.models:
        drawn[f"model={model}/layer_width"] = figures.layer_width(scores, model)
        if model in scores.filter(features="sae")["model"]:
            drawn[f"model={model}/pooling_threshold"] = figures.pooling_threshold(scores, model)
        if scores.filter(features="sae", model=model)["selection"].n_unique() > 1:
            drawn[f"model={model}/selection"] = figures.selection(scores, model)
    for pdf, png in zip(snakemake.output.pdf, snakemake.output.png, strict=True):
        name = str(Path(pdf).with_suffix("")).rpartition("results/figures/")[2]  # object storage has a prefix
        figures.save(drawn[name], Path(pdf), Path(png))
