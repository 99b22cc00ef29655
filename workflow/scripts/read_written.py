"""Let another layer or model read what a steered model wrote: its hidden states of every text."""

from pathlib import Path

import polars as pl
import torch
from tessera.activations.extraction import extract, hook_of
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.interventions.steering import with_content
from tessera.models.loading import load_model
from tessera.models.weights import read_weights
from tessera.saes.encoders import read_about

with script(snakemake) as log:
    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    identity, layer = params.model, params.layer
    model = load_model(
        identity,
        folder=inputs.folder or None,
        revision=read_weights(inputs.weights)["revision"],
        depth=layer + 1,
    )
    read = {(layer, file): read_about(Path(file))["hook"] for file in inputs.saes}
    written = pl.read_parquet(Path(inputs.steered) / "written.parquet")
    texts = with_content(model, written["text"])
    log.info("%d texts, of %d that were written", len(texts), len(written))
    numbers = pl.Series(range(len(texts)), dtype=pl.UInt32)
    extract(
        model,
        pl.DataFrame({"example": numbers, "text": texts}),
        {},
        [layer],
        Path(snakemake.output.states),
        max_tokens=identity["spec"]["max_tokens"],
        hook=hook_of(layer, read, identity["spec"].get("hook")),
        **params.stored,
    )
    write_parquet(snakemake.output.texts, pl.DataFrame({"text": texts}))
