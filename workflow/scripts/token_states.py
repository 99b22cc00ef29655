"""One forward pass over a shard of examples: the hidden states of its tokens at the layers that the config asks for."""

from pathlib import Path

import torch
from tessera.activations.extraction import hook_of
from tessera.activations.token_states import write_states
from tessera.base.script import script
from tessera.examples.shards import read_shard
from tessera.models.loading import load_model
from tessera.models.weights import read_weights
from tessera.saes.encoders import read_about

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    inputs, params, place = snakemake.input, snakemake.params, snakemake.wildcards
    identity, folder, revision = params.model, inputs.folder or None, read_weights(inputs.weights)["revision"]
    saes = zip(params.cells, inputs.saes, strict=True)
    read = {tuple(cell): read_about(Path(file))["hook"] for cell, file in saes}
    write_states(
        load_model(identity, folder=folder, revision=revision, depth=max(params.layers) + 1),
        read_shard(inputs.examples, place.data, int(place.shard), params.shard_size),
        {layer: hook_of(layer, read, identity["spec"].get("hook")) for layer in params.layers},
        Path(snakemake.output[0]),
        max_tokens=identity["spec"]["max_tokens"],
        **params.stored,
    )
