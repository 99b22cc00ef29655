"""Cache a model's activations on unlabelled training texts, to train SAEs on."""

from pathlib import Path

import polars as pl
import torch
from tessera.activations.residuals import cache_residuals
from tessera.base.script import script
from tessera.examples.splits import shuffled
from tessera.models.loading import load_model
from tessera.models.text import contents
from tessera.models.weights import read_weights

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity, hooks = snakemake.params.model, snakemake.params.hooks
    revision = read_weights(snakemake.input.weights)["revision"]
    examples = pl.concat([pl.scan_parquet(file).filter(split="train") for file in snakemake.input.examples]).collect()
    cache_residuals(
        load_model(identity, folder=snakemake.input.folder or None, revision=revision, depth=max(hooks) + 1),
        contents(shuffled(examples, identity["seed"])),
        hooks,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        budget=snakemake.params.tokens,
    )
