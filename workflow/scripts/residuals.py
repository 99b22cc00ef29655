"""Cache a model's activations on unlabelled training texts, to train SAEs on."""

from pathlib import Path

import polars as pl
import torch
from tessera.data import shuffled
from tessera.extract import cache_residuals
from tessera.job import job
from tessera.models import load_model

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity = snakemake.params.model
    examples = pl.concat([pl.read_parquet(file) for file in snakemake.input.examples]).filter(split="train")
    cache_residuals(
        load_model(snakemake.wildcards.model, identity["spec"], identity["source"], seed=identity["seed"]),
        shuffled(examples, identity["seed"])["text"].to_list(),
        snakemake.params.hooks,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        prepend_bos=identity["spec"]["prepend_bos"],
        budget=snakemake.params.tokens,
    )
