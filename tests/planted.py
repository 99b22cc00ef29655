"""A model that holds a label in one direction, which later layers copy or do not, and a study's files of it."""

from pathlib import Path

import numpy as np
import polars as pl
import tiny
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from tessera.activations.extraction import extract
from tessera.base.files import write_parquet
from tessera.evidence.reading import Place
from tessera.features.pooling import pool_folders
from tessera.features.registry import kind
from tessera.probes.task import probe_cells
from tessera.saes.preparing import prepare
from tessera.study import paths

LAYER, WIDTH, TEXTS, PLANTED = 1, 24, 200, 0
KEYS = {"model": "m", "layer": str(LAYER), "width": str(WIDTH), "data": "d"}
SETTINGS = {"seed": 0, "folds": 3, "resamples": 100, "C": [0.1, 1.0]}
SIGN = "rain"  # the word that tells the class
ANSWERS = ("hill", "mill")


def examples() -> pl.DataFrame:
    """Texts of made-up words; those of one class hold the sign."""
    generator = np.random.default_rng(0)
    others = [word for word in tiny.WORDS if word != SIGN]
    labels = ["wet" if number % 2 else "dry" for number in range(TEXTS)]
    rows = [list(generator.choice(others, size=8)) for _ in labels]
    for row, label in zip(rows, labels, strict=True):
        if label == "wet":
            row[int(generator.integers(8))] = SIGN
    numbers = pl.Series(range(TEXTS), dtype=pl.UInt32)
    return pl.DataFrame(
        {
            "example": numbers,
            "id": [str(number) for number in range(TEXTS)],
            "text": [" ".join(row) for row in rows],
            "label": labels,
            "split": ["test" if number % 5 in (3, 4) else "train" for number in range(TEXTS)],
            "group": numbers,
            "near": numbers,
        }
    )


def model_of(folder: Path, read: bool):
    """A Llama without norms: the sign's token has direction 0; block 2 copies it to direction 1, if it is `read`.

    Every other token has random parts in the other directions, which are the SAE's other latents. The unembedding reads
    direction 1 alone: for the word ANSWERS[0], and against ANSWERS[1].
    """
    model = tiny.load(tiny.save_model("llama", folder / "model", causal=True), causal=True)
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(tiny.HIDDEN, tiny.HIDDEN, generator=generator)).Q.T
    with torch.no_grad():
        for block in model.blocks:
            block.input_layernorm = block.post_attention_layernorm = torch.nn.Identity()
            for weight in block.parameters():
                weight.zero_()
        if read:
            mlp = model.blocks[2].mlp
            mlp.gate_proj.weight[0] = mlp.up_proj.weight[0] = 2 * axes[0]
            mlp.down_proj.weight[:, 0] = axes[1]
        embeddings = model.module.get_input_embeddings().weight
        parts = torch.rand(len(embeddings), WIDTH - 1, generator=generator)
        embeddings.copy_(parts.where(parts > 0.7, torch.zeros(())) @ axes[2 : WIDTH + 1])
        sign = model.tokenizer.convert_tokens_to_ids(SIGN)
        words = model.tokenizer.convert_tokens_to_ids([word for word in tiny.WORDS if word != SIGN])
        embeddings[sign] = embeddings[words].mean(dim=0) + 2 * axes[0]  # like any other word, but for the label
        model.module.model.norm = torch.nn.Identity()
        unembedding = model.module.get_output_embeddings().weight
        unembedding.zero_()
        for word, sign in zip(ANSWERS, (0.1, -0.1), strict=True):
            unembedding[model.tokenizer.convert_tokens_to_ids(word)] = sign * axes[1]
        sae = StandardSAE(StandardSAEConfig(d_in=tiny.HIDDEN, d_sae=WIDTH))
        sae.W_dec.copy_(torch.cat([axes[:1], axes[2 : WIDTH + 1]]))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_enc.fill_(-0.1)
        sae.b_dec.zero_()
    sae.save_model(folder / "sae")
    return model


def place_of(folder: Path, model, frame: pl.DataFrame) -> Place:
    """What a study would leave of these texts in a folder, the SAE's encoder and decoder among it."""
    prepare(folder / "sae", folder / "encoder", folder / "decoder", width=WIDTH, layer=LAYER)
    write_parquet(folder / "data=d/examples.parquet", frame)
    shard, saes = folder / "shard=0", {(LAYER, str(WIDTH)): folder / "encoder"}
    extract(model, frame, saes, [LAYER, 3], shard, max_tokens=16, activation_dtype="float32")
    pooled = folder / paths.FEATURES.format(pooling="sum", **KEYS)
    pool_folders([shard], {"sum": pooled}, layer=KEYS["layer"], width=KEYS["width"])
    values, cells, examples = (
        {"pooling": ["sum"], "threshold": ["none"], "selection": ["none"]},
        [],
        "data=d/examples.parquet",
    )
    for here, cell in probe_cells("sae", str(folder / examples), [str(pooled)], KEYS, values, SETTINGS):
        cells += [
            str(folder / kind("sae").path.format(part=part, **KEYS, **here, probe="logistic"))
            for part in ("scores", "coefficients")
        ]
        cell.write(cells)
    return Place(KEYS, str(folder / examples), [str(pooled)], cells, [str(shard)], SETTINGS)
