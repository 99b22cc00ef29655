"""Run a model with a label erased: the states of labelled texts, its answers, what that does to other texts."""

from functools import partial
from pathlib import Path

import polars as pl
import torch
from tessera.base import hive
from tessera.base.script import script
from tessera.interventions.erasing import erase, interventions_of
from tessera.interventions.latents import Latents
from tessera.interventions.shard import later, other_texts
from tessera.models.loading import load_model
from tessera.models.parts import has_head, local_folder
from tessera.models.weights import read_weights
from tessera.saes.encoders import read_about
from tessera.steering.prompts import COLUMNS, asked_prompts

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    identity, seed = params.model, params.seed
    revision = read_weights(inputs.weights)["revision"]
    folder = local_folder(identity, inputs.folder or None, revision)
    causal = has_head(folder)
    model = load_model(identity, folder=folder, revision=revision, causal=causal)
    place = (int(params.place["layer"]), read_about(Path(inputs.encoder))["hook"])
    examples = {hive.keys(file)["data"]: pl.scan_parquet(file).select(COLUMNS).collect() for file in inputs.examples}
    own = examples[params.place["data"]]
    latents = partial(Latents, model, Path(inputs.encoder), Path(inputs.decoder), place)
    answered = asked_prompts(params.answered, params.prompts, inputs.answered, own, seed)
    log.info("head: %s; data sets: %s", causal, ", ".join(examples))
    erase(
        model,
        place,
        interventions_of(pl.read_parquet(inputs.erasers), model, latents),
        {data: frame.select("example", "text") for data, frame in examples.items()},
        later(place[0], len(model.blocks)),
        other_texts(inputs.neutral, seed=seed) if causal else [],
        answered if causal else None,
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        pool_massive=params.stored["pool_massive"],
    )
