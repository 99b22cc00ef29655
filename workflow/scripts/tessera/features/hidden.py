"""Hidden states, pooled over the same content tokens as the latents."""

from pathlib import Path

import numpy as np

from tessera.base.files import read_parquet


def read_hidden(files: list[Path], pooling: str) -> np.ndarray:
    """Pooled hidden states [E, d], float32, examples ascending; `pooling` is sum, mean, max or last."""
    column = "sum" if pooling == "mean" else pooling
    tables = [read_parquet(file, ["example", "tokens", column]) for file in files]
    example_E = np.concatenate([table["example"].to_numpy() for table in tables])
    tokens_E = np.concatenate([table["tokens"].to_numpy() for table in tables])
    parts = [table[column].chunk(0) for table in tables]
    hidden_ED = np.concatenate([part.values.to_numpy().reshape(len(part), -1) for part in parts])
    if pooling == "mean":
        hidden_ED = hidden_ED / tokens_E[:, None].astype(np.float32)
    return hidden_ED[np.argsort(example_E, kind="stable")]
