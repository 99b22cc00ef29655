"""Train one SAE on cached activations and measure what was saved."""

from pathlib import Path

import torch
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.models.devices import pick_device

with script(snakemake):
    from tessera.saes.training import train  # imports sae_lens

    torch.set_num_threads(snakemake.threads)
    quality = train(
        Path(snakemake.input[0]) / f"layer={snakemake.wildcards.layer}.npy",
        Path(snakemake.output.sae),
        layer=int(snakemake.wildcards.layer),
        width=snakemake.params.width,
        device=pick_device(snakemake.wildcards.model, snakemake.params.device),
        **snakemake.params.recipe,
    )
    write_parquet(snakemake.output.quality, quality)
