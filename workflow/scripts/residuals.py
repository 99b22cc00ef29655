"""Cache a model's activations on unlabelled training texts, to train SAEs on."""

from pathlib import Path

import polars as pl
import torch
from tessera.data import shuffled
from tessera.extract import cache_residuals
from tessera.job import job
from tessera.models import contents, load_model

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity = snakemake.params.model
    examples = pl.concat([pl.scan_parquet(file).filter(split="train") for file in snakemake.input.examples]).collect()
    cache_residuals(
        load_model(snakemake.wildcards.model, identity["spec"], identity["source"], seed=identity["seed"]),
        contents(shuffled(examples, identity["seed"])),
        snakemake.params.hooks,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        prepend_bos=identity["spec"]["prepend_bos"],
        budget=snakemake.params.tokens,
    )
