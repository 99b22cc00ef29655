"""The sentence embeddings of a shard of examples."""

import torch
from tessera.base.code import code_facts
from tessera.base.files import write_parts
from tessera.base.script import script
from tessera.examples.shards import read_shard
from tessera.models.embedding import embed, read_recipe
from tessera.models.loading import load_model
from tessera.models.parts import local_folder
from tessera.models.weights import read_weights

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    identity, size, place = snakemake.params.model, snakemake.params.shard_size, snakemake.wildcards
    examples = read_shard(snakemake.input.examples, place.data, int(place.shard), size)
    weights, folder = read_weights(snakemake.input.weights), snakemake.input.folder or None
    recipe = read_recipe(identity["name"], local_folder(identity, folder, weights["revision"]))
    model = load_model(identity, folder=folder, revision=weights["revision"])
    tables = embed(model, recipe, examples, max_tokens=identity["spec"]["max_tokens"])
    write_parts(snakemake.output[0], tables, [*weights["facts"], *code_facts("activations")])
