"""Let a causal language model answer the prompts of a data set: its answers are the labels."""

import torch
from tessera.base.files import write_parquet
from tessera.base.script import job
from tessera.examples.prompts import load_prompts
from tessera.models.answers import answer
from tessera.models.loading import load_model
from transformers import AutoModelForCausalLM

with job(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    settings, model = snakemake.params, snakemake.params.model
    prompts = load_prompts(snakemake.wildcards.data, settings.spec, seed=settings.seed)
    loaded = load_model(model["name"], model["spec"], model["source"], seed=model["seed"], kind=AutoModelForCausalLM)
    answers = answer(loaded, prompts, max_tokens=model["spec"]["max_tokens"])
    log.info("%s", answers["answer"].value_counts().rows())
    write_parquet(snakemake.output[0], answers)
