"""Cache a model's activations on unlabelled training texts, to train SAEs on."""

from pathlib import Path

import polars as pl
import torch
from tessera.activations.residuals import cache_residuals
from tessera.base.script import job
from tessera.examples.splits import shuffled
from tessera.models.loading import load_model
from tessera.models.text import contents

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
