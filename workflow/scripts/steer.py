"""Run a model steered along a direction and its controls, by every α: answers, texts, what it does to other texts."""

from functools import partial
from pathlib import Path

import polars as pl
import torch
from tessera.base.script import script
from tessera.interventions.latents import Latents
from tessera.interventions.shard import other_texts
from tessera.interventions.steering import steer, steered
from tessera.models.loading import load_model
from tessera.models.parts import has_head, local_folder
from tessera.models.weights import read_weights
from tessera.saes.encoders import read_about
from tessera.steering.prompts import COLUMNS, asked_prompts, check_head, continued_prompts

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    inputs, params, asked = snakemake.input, snakemake.params, snakemake.params.asked
    identity, seed = params.model, params.seed
    revision = read_weights(inputs.weights)["revision"]
    folder = local_folder(identity, inputs.folder or None, revision)
    causal = has_head(folder)
    check_head(causal, params.key, answers=params.answered is not None, prompts="prompts" in asked)
    model = load_model(identity, folder=folder, revision=revision, causal=causal)
    about, examples = read_about(Path(inputs.encoder)), pl.scan_parquet(inputs.examples).select(COLUMNS).collect()
    neutral = other_texts(inputs.neutral, seed=seed)
    options = {"max_tokens": identity["spec"]["max_tokens"], "pool_massive": params.stored["pool_massive"]}
    place = (int(params.place["layer"]), about["hook"])
    directions = pl.read_parquet(inputs.directions)
    latents = partial(Latents, model, Path(inputs.encoder), Path(inputs.decoder), place)
    one = steered(model, place, directions, asked["alphas"], neutral, latents, where=asked["tokens"], **options)
    answered = asked_prompts(params.answered, params.prompts, inputs.answered, examples, seed)
    prompts = continued_prompts(asked.get("prompts"), inputs.continued, examples)
    log.info("unit %.4g; %d variants; head: %s", one.variants["unit"][0], len(one.variants), causal)
    steer(
        one,
        neutral if causal else [],
        Path(snakemake.output[0]),
        answered=answered,
        prompts=prompts,
        tokens=asked.get("prompts", {}).get("tokens", 0),
        samples=asked.get("prompts", {}).get("samples", 0),
        seed=seed,
        read=None if params.read_layer is None else (examples, params.read_layer),
    )
