"""Make a model folder of a GGUF file: weights in float32, config, tokenizer, and the hashes of all of them."""

from pathlib import Path

import torch
from tessera.base.files import resolve
from tessera.base.script import script
from tessera.models.unpacking import unpack

with script(snakemake):
    torch.set_num_threads(snakemake.threads)
    packed = snakemake.params.packed
    unpack(snakemake.wildcards.model, resolve(packed["path"]), Path(snakemake.output[0]), wanted=packed.get("sha256"))
