"""Run a model without latents of one of its SAEs: later hidden states, predictions of other texts, its answers."""

from pathlib import Path

import polars as pl
import torch
from tessera.base.script import script
from tessera.examples.prompts import load_prompts
from tessera.interventions.ablation import Latents
from tessera.interventions.shard import OTHERS, ablate
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
    texts = [pl.read_parquet(file, columns=["text"]) for file in inputs.others]
    others = pl.concat([pl.DataFrame(schema={"text": pl.String}), *texts])["text"].unique(maintain_order=True)
    others = others.sample(min(OTHERS, len(others)), seed=params.seed)
    prompts = None
    if causal and params.prompts is not None:
        prompts = load_prompts(place.data, params.prompts, seed=params.seed)
        tested = examples.filter(split="test")["id"]
        prompts = prompts.filter(pl.col("id").cast(pl.String).is_in(tested.implode()))
    ablate(
        model,
        latents,
        examples,
        pl.read_parquet(inputs.sets),
        others.to_list()[shard :: params.shards] if causal else [],
        prompts,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        pool_massive=params.stored["pool_massive"],
    )
    log.info("head: %s; other texts: %d", causal, len(others))
