"""The tokens that latents promote and suppress, their place on Neuronpedia, and what a file of explanations says."""

from pathlib import Path

import polars as pl
import torch
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.interventions.naming import named
from tessera.models.parts import local_folder
from tessera.models.weights import read_weights
from tessera.saes.decoders import load_decoder

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    inputs, identity = snakemake.input, snakemake.params.model
    folder = local_folder(identity, inputs.folder or None, read_weights(inputs.weights)["revision"])
    latents = pl.concat([pl.read_parquet(file) for file in inputs.shown])["latent"].unique().sort()
    decoder = load_decoder(Path(inputs.decoder), torch.device("cpu"))
    reads = identity["spec"].get("reads", "text")
    found, reason = named(latents, decoder, folder if reads == "text" else None, inputs.explanations)
    if reason:
        log.info("no tokens are written: %s", reason)
    write_parquet(snakemake.output[0], found)
