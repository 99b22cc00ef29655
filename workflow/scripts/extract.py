"""One forward pass over a shard of examples: sparse latents of every SAE, pooled hidden states of every layer."""

from pathlib import Path

import polars as pl
import torch
from tessera.activations.extraction import extract
from tessera.base.errors import TesseraError
from tessera.base.files import write_parquet
from tessera.base.script import job
from tessera.models.loading import load_model
from tessera.results.provenance import code_facts, file_sha256, model_facts

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
    name, spec, source, seed = snakemake.wildcards.model, identity["spec"], identity["source"], identity["seed"]
    saes = {tuple(cell): Path(file) for cell, file in zip(snakemake.params.cells, snakemake.input.saes, strict=True)}
    summary = extract(
        load_model(name, spec, source, seed=seed),
        examples,
        saes,
        snakemake.params.layers,
        Path(snakemake.output.shard),
        max_tokens=spec["max_tokens"],
        prepend_bos=spec["prepend_bos"],
        hook=spec.get("hook"),
        activation_dtype=spec["activation_dtype"],
    )
    facts = [*model_facts(name, spec, source, seed), *code_facts("activations")]
    for (layer, width), file in saes.items():
        facts.append(["sae", f"{name} layer {layer} width {width}", file.name, file_sha256(file)])
    write_parquet(snakemake.output.summary, summary, facts)
