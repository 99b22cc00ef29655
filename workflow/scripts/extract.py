"""One forward pass over a shard of examples: sparse latents of every SAE, pooled hidden states of every layer."""

import json
from pathlib import Path

import torch
from tessera.activations.extraction import extract
from tessera.base.code import code_facts
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.examples.shards import read_shard
from tessera.models.loading import load_model
from tessera.models.weights import read_weights

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity, layers, place = snakemake.params.model, snakemake.params.layers, snakemake.wildcards
    examples = read_shard(snakemake.input.examples, place.data, int(place.shard), snakemake.params.shard_size)
    name, spec, weights = identity["name"], identity["spec"], read_weights(snakemake.input.weights)
    folder = snakemake.input.folder or None
    saes = {tuple(cell): Path(file) for cell, file in zip(snakemake.params.cells, snakemake.input.saes, strict=True)}
    summary = extract(
        load_model(identity, folder=folder, revision=weights["revision"], depth=max(layers) + 1),
        examples,
        saes,
        layers,
        Path(snakemake.output.shard),
        max_tokens=spec["max_tokens"],
        hook=spec.get("hook"),
        **snakemake.params.stored,
    )
    facts = [*weights["facts"], *code_facts("activations")]
    for ((layer, width), file), digest in zip(saes.items(), snakemake.input.digests, strict=True):
        sae = f"{name} layer {layer} width {width}"
        facts.append(["sae", sae, file.name, json.loads(Path(digest).read_text())])
    write_parquet(snakemake.output.summary, summary, facts)
