"""Fine-tune a copy of a model on the labels of a data set's training split."""

from pathlib import Path

import polars as pl
import torch
from tessera.base.script import job
from tessera.models.loading import load_model
from tessera.models.tuning import tune

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    recipe, base = snakemake.params.recipe, snakemake.params.base
    spec = base["spec"] | {"dtype": "float32"}
    tune(
        load_model(base["name"], spec, spec, seed=recipe["seed"]),
        pl.scan_parquet(snakemake.input.examples).filter(split="train").collect(),
        Path(snakemake.output[0]),
        max_tokens=spec["max_tokens"],
        prepend_bos=spec["prepend_bos"],
        **{key: recipe[key] for key in ("steps", "batch", "learning_rate", "seed")},
    )
