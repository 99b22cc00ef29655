"""Fine-tune a copy of a model, or a new encoder, on the labels of a data set's training split."""

from pathlib import Path

import polars as pl
import torch
from tessera.base.script import script
from tessera.models.loading import load_model
from tessera.models.tuning import tune
from tessera.models.weights import read_weights

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    recipe, base = snakemake.params.recipe, snakemake.params.base
    spec = base["spec"] | {"dtype": "float32"}
    weights = snakemake.input.get("weights")  # a new encoder has none yet
    tune(
        load_model(
            base | {"spec": spec, "seed": recipe["seed"]},
            folder=snakemake.input.get("folder") or None,
            revision=read_weights(weights)["revision"] if weights else None,
        ),
        pl.scan_parquet(snakemake.input.examples).filter(split="train").collect(),
        Path(snakemake.output[0]),
        max_tokens=spec["max_tokens"],
        **{key: recipe[key] for key in ("steps", "batch", "learning_rate", "seed")},
    )
