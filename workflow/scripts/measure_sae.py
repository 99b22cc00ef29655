"""Measure an SAE of one model on another's activations."""

from pathlib import Path

import torch
from tessera.base.files import write_parquet
from tessera.base.script import script

with script(snakemake):
    from tessera.saes.training import measure_borrowed  # imports sae_lens

    torch.set_num_threads(snakemake.threads)
    cache = Path(snakemake.input.residuals) / f"layer={snakemake.wildcards.layer}.npy"
    quality = measure_borrowed(Path(snakemake.input.sae), cache, snakemake.params.architecture)
    write_parquet(snakemake.output[0], quality)
