"""Run a model without latents of one of its SAEs: later hidden states, predictions of other texts, its answers."""

from pathlib import Path

import polars as pl
import torch
from tessera.base.script import script
from tessera.examples.prompts import load_prompts
from tessera.interventions.latents import Latents
from tessera.interventions.shard import ablate, other_texts
from tessera.models.loading import load_model
from tessera.models.parts import has_head, local_folder
from tessera.models.weights import read_weights
from tessera.saes.encoders import read_about

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    inputs, params, place = snakemake.input, snakemake.params, snakemake.wildcards
    shard, size, identity = int(place.shard), params.shard_size, params.model
    revision = read_weights(inputs.weights)["revision"]
    folder = local_folder(identity, inputs.folder or None, revision)
    causal = has_head(folder)
    model = load_model(identity, folder=folder, revision=revision, causal=causal)
    hook = read_about(Path(inputs.encoder))["hook"]
    latents = Latents(model, Path(inputs.encoder), Path(inputs.decoder), (int(place.layer), hook))
    examples = (
        pl.scan_parquet(inputs.examples).slice(shard * size, size).select("example", "id", "text", "split").collect()
    )
    others = other_texts(inputs.others, seed=params.seed, shard=shard, shards=params.shards) if causal else []
    asked = params.prompts if causal else None
    prompts = None if asked is None else load_prompts(place.data, asked, seed=params.seed)
    ablate(
        model,
        latents,
        examples,
        pl.read_parquet(inputs.sets),
        others,
        prompts,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        pool_massive=params.stored["pool_massive"],
    )
    log.info("head: %s; other texts: %d", causal, len(others))
