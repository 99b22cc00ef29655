"""One forward pass over a shard of examples: sparse latents of every SAE, pooled hidden states of every layer."""

from pathlib import Path

import polars as pl
import torch
from tessera.errors import TesseraError
from tessera.extract import extract
from tessera.io import write_parquet
from tessera.job import job
from tessera.models import load_model

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity, size = snakemake.params.model, snakemake.params.shard_size
    examples = pl.scan_parquet(snakemake.input.examples).slice(int(snakemake.wildcards.shard) * size, size)
    examples = examples.select("example", "^text$", "^image$").collect()
    if examples.is_empty():
        raise TesseraError(
            f"shard {snakemake.wildcards.shard} is empty: there are fewer examples than "
            f"datasets.{snakemake.wildcards.data}.max_examples; lower it to what there is"
        )
    summary = extract(
        load_model(snakemake.wildcards.model, identity["spec"], identity["source"], seed=identity["seed"]),
        examples,
        {tuple(cell): Path(file) for cell, file in zip(snakemake.params.cells, snakemake.input.saes, strict=True)},
        snakemake.params.layers,
        Path(snakemake.output.shard),
        max_tokens=identity["spec"]["max_tokens"],
        prepend_bos=identity["spec"]["prepend_bos"],
        hook=identity["spec"].get("hook"),
        activation_dtype=identity["spec"]["activation_dtype"],
    )
    write_parquet(snakemake.output.summary, summary)
