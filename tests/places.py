"""Places of evidence made up on the spot: examples, shards of tokens, features and probed cells."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from tessera.activations.shards import token_table
from tessera.base.files import write_parquet
from tessera.evidence.reading import Place
from tessera.features.pooling import pool_folders
from tessera.features.registry import kind
from tessera.probes.task import probe_cells
from tessera.saes.encoders import SparseActivations
from tessera.study import paths

SETTINGS = {"seed": 0, "folds": 3, "resamples": 100, "C": [0.1, 1.0]}
KEYS = {"model": "m", "layer": "1", "width": "64", "data": "d"}
WIDTH, TOKENS, PLANTED, D = 64, 5, 7, 16
VALUES = {"pooling": ["sum"], "threshold": ["none", "0.5"], "selection": ["none"]}


def example_frame(labels: list[str], texts: list[str] | None = None) -> pl.DataFrame:
    """Examples of these labels, each a group of its own, every fifth in the test split."""
    size = len(labels)
    return pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": [str(number) for number in range(size)],
            "text": texts or [" ".join(f"w{number}x{token}" for token in range(TOKENS)) for number in range(size)],
            "label": labels,
            "split": ["test" if number % 5 == 4 else "train" for number in range(size)],
            "group": pl.Series(range(size), dtype=pl.UInt32),
            "near": pl.Series(range(size), dtype=pl.UInt32),
        }
    )


def random_acts(size: int, seed: int, rate: float = 0.1) -> np.ndarray:
    """Activations [E, T, W] that know nothing of any label."""
    generator = np.random.default_rng(seed)
    fires = generator.random((size, TOKENS, WIDTH)) < rate
    return np.where(fires, generator.gamma(2, 1, fires.shape), 0).astype(np.float32)


def plant(acts_ETW: np.ndarray, is_E: np.ndarray, seed: int = 1, latent: int = PLANTED) -> None:
    """One latent fires on a token of nearly every text of a class, and of hardly any other."""
    generator = np.random.default_rng(seed)
    acts_ETW[:, :, latent] = 0
    fires_E = np.where(is_E, generator.random(len(is_E)) < 0.97, generator.random(len(is_E)) < 0.03)
    acts_ETW[fires_E, generator.integers(TOKENS, size=len(is_E))[fires_E], latent] = 2 + generator.random(fires_E.sum())


def write_shard(folder: Path, acts_ETW: np.ndarray, hidden_ED: np.ndarray, examples: pl.DataFrame) -> None:
    """What an extraction of these examples would have left: activations in the order of batches, tokens of examples."""
    size = len(acts_ETW)
    batched = np.random.default_rng(7).permutation(size)
    position = np.tile(np.arange(TOKENS, dtype=np.uint32), size)
    ordered, rows = (
        {"example": np.repeat(number_E, TOKENS), "position": position}
        for number_E in (examples["example"].to_numpy(), examples["example"].to_numpy()[batched])
    )
    flat_NW = acts_ETW[batched].reshape(-1, WIDTH)
    token, latent = np.nonzero(flat_NW)
    counts_N = np.bincount(token, minlength=len(flat_NW))
    sparse = SparseActivations(counts_N, latent.astype(np.uint32), flat_NW[token, latent])
    table = token_table(rows, sparse, pa.float32(), ("1", "64"))
    write_parquet(folder / paths.LATENTS.format(**KEYS), table, rows=100)
    last = table.filter(pa.array(rows["position"] == TOKENS - 1))
    write_parquet(folder / paths.BEFORE_ANSWER.format(**KEYS), last, rows=20)
    spans = [span for text in examples["text"] for span in _words(text)]
    places = ordered | {
        name: np.array([span[side] for span in spans], np.uint32) for side, name in enumerate(("start", "end"))
    }
    write_parquet(folder / paths.TOKENS, pl.DataFrame(places))
    lists = {name: pl.Series(hidden_ED.tolist(), dtype=pl.Array(pl.Float32, D)) for name in ("sum", "max", "last")}
    ones = {"example": examples["example"], "tokens": pl.Series([1] * size, dtype=pl.UInt32)}
    write_parquet(folder / paths.HIDDEN.format(**KEYS), pl.DataFrame(ones | lists))


def _words(text: str) -> list[tuple[int, int]]:
    found, start = [], 0
    for word in text.split(" "):
        found.append((start, start + len(word)))
        start += len(word) + 1
    return found


def make_place(
    folder: Path,
    labels: list[str],
    acts_ETW: np.ndarray,
    *,
    hidden_ED: np.ndarray | None = None,
    texts: list[str] | None = None,
    repeats: int = 1,
    examples: pl.DataFrame | None = None,
    shards: int = 1,
    **values: list[str],
) -> Place:
    """A place whose features are pooled and whose cells are probed, of these `values` of the axes."""
    values = VALUES | values
    examples = example_frame(labels, texts) if examples is None else examples
    if hidden_ED is None:
        hidden_ED = np.random.default_rng(2).standard_normal((len(labels), D)).astype(np.float32)
    write_parquet(folder / "data=d/examples.parquet", examples)
    folders = [folder / f"shard={number}" for number in range(shards)]
    for shard, rows in zip(folders, np.array_split(np.arange(len(labels)), shards), strict=True):
        write_shard(shard, acts_ETW[rows], hidden_ED[rows], examples[rows])
    outputs = {pooling: folder / paths.FEATURES.format(pooling=pooling, **KEYS) for pooling in values["pooling"]}
    pool_folders(folders, outputs, layer="1", width="64")
    features, cells = [str(file) for file in outputs.values()], []
    files = str(folder / "data=d/examples.parquet"), features
    for here, cell in probe_cells("sae", *files, KEYS, values, SETTINGS, repeats):
        parts = [
            str(folder / kind("sae").path.format(part=part, **KEYS, **here, probe="logistic"))
            for part in ("scores", "coefficients")
        ]
        cell.write(parts)
        cells += parts
    return Place(KEYS, files[0], features, cells, [str(shard) for shard in folders], SETTINGS)
