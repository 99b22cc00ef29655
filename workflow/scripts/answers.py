"""Let a causal language model answer the prompts of a data set: its answers are the labels."""

import torch
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.examples.prompts import load_prompts
from tessera.models.answers import answer
from tessera.models.loading import load_model
from tessera.models.weights import read_weights

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    settings, identity = snakemake.params, snakemake.params.model
    prompts = load_prompts(snakemake.wildcards.data, settings.spec, seed=settings.seed)
    revision = read_weights(snakemake.input.weights)["revision"]
    model = load_model(identity, folder=snakemake.input.folder or None, revision=revision, causal=True)
    answers = answer(model, prompts, max_tokens=identity["spec"]["max_tokens"])
    log.info("%s", answers["answer"].value_counts().rows())
    write_parquet(snakemake.output[0], answers)
