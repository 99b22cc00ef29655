"""Encoding 4,096 tokens and pooling them five ways: SAELens and dense pools, against the streaming sparse encoder.

python benchmarks/encode.py [--rounds 3] [--widths 16384 65536]
"""

import argparse
import tempfile
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import numpy as np
import torch
from harness import side_by_side, table

TOKENS, DOCUMENT, D, L0 = 4096, 128, 2304, 70
WARM = 2048  # tokens of a batch on a CPU
POOLINGS = ["sum", "mean", "max", "last", "count"]


def make(width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residuals [N, D], W_enc [D, W] and a threshold at which about L0 latents of a token fire."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(TOKENS, D, generator=generator)
    W_DW = torch.randn(D, width, generator=generator) / D**0.5
    threshold = torch.quantile((x_ND[:64] @ W_DW).flatten()[:1_000_000], 1 - L0 / width)
    return x_ND.to(dtype), W_DW, threshold


def prepare_saelens(width: int, dtype: torch.dtype):
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    x_ND, W_DW, threshold = make(width, dtype)
    name = str(dtype).removeprefix("torch.")
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=D, d_sae=width, apply_b_dec_to_input=False, dtype=name))
    with torch.no_grad():
        sae.W_enc.copy_(W_DW)
        sae.threshold.fill_(threshold)
    work_saelens((sae, x_ND[:WARM]))
    return sae, x_ND


@torch.inference_mode()
def work_saelens(state):
    sae, x_ND = state
    acts_EDW = sae.encode(x_ND).view(len(x_ND) // DOCUMENT, DOCUMENT, -1)
    pooled = {
        "sum": acts_EDW.sum(1),
        "mean": acts_EDW.mean(1),
        "max": acts_EDW.amax(1),
        "last": acts_EDW[:, -1],
        "count": (acts_EDW > 0).sum(1),
    }
    return float(pooled["sum"].double().sum())


def prepare_tessera(width: int, dtype: torch.dtype):
    import tessera.activations.extraction
    import tessera.features.pooling  # noqa: F401 (imported before the clock starts)
    from tessera.saes.encoders import JumpReLU, Scratch

    x_ND, W_DW, threshold = make(width, dtype)
    tensors = {
        "W_enc": W_DW,
        "b_enc": torch.zeros(width),
        "b_dec": torch.zeros(D),
        "threshold": threshold.expand(width),
    }
    config = {"apply_b_dec_to_input": False, "normalize_activations": "none", "centre": False}
    encoder = JumpReLU(tensors, config, Scratch(torch.device("cpu"), dtype))
    work_tessera((encoder, x_ND[:WARM]))  # its buffers, 160 MiB at any width, are there before the clock starts
    return encoder, x_ND


def work_tessera(state):
    import pyarrow as pa
    from tessera.activations.shards import latents_schema, token_table
    from tessera.base.files import parquet_writer
    from tessera.features.pooling import pool

    encoder, x_ND = state
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        schema = latents_schema(pa.float16())
        with parquet_writer(Path(folder) / "latents.parquet", schema) as writer:
            for start in range(0, len(x_ND), WARM):
                found = encoder.encode(x_ND[start : start + WARM])
                number = np.arange(start, start + WARM, dtype=np.uint32)
                rows = {"example": number // DOCUMENT, "position": number % DOCUMENT}
                writer.write_table(token_table(rows, found, pa.float16(), (0, "")))
                offsets = np.append(0, np.cumsum(found.counts_N))
                _, pooled = pool(rows["example"], offsets, found.latents, found.values, POOLINGS)
                total += pooled["sum"].sum()
    return float(total)


@torch.inference_mode()
def work_product(state):
    encoder, x_ND = state
    for chunk in x_ND.split(encoder.scratch.entries // encoder.width):
        product = torch.mm(chunk, encoder.W_enc)
    return float(product[0, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[16384, 65536])
    options = parser.parse_args()
    for width in options.widths:
        for dtype in (torch.float32, torch.bfloat16):
            found = side_by_side(
                options.rounds,
                {
                    "SAELens, dense pools": (prepare_saelens, work_saelens, width, dtype),
                    "Tessera, sparse, parquet and pools": (prepare_tessera, work_tessera, width, dtype),
                    "the bare product": (prepare_tessera, work_product, width, dtype),
                },
            )
            dense, sparse, _ = found.values()
            print(f"\nwidth {width}, {dtype}: {dense['cpu_s'] / sparse['cpu_s']:.2f} x the speed")
            print(table(found, {"cpu_s": ".2f", "wall_s": ".2f", "peak_mib": ".0f", "result": ".0f"}))


if __name__ == "__main__":
    main()
