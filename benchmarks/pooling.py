"""Pooling a shard in all seven ways: examples/s, and whether memory depends on how many there are.

python benchmarks/pooling.py [--rounds 3] [--examples 1000 10000]
"""

import argparse
import tempfile
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import numpy as np
from harness import side_by_side, table

POOLINGS = ["sum", "mean", "max", "last", "count", "top20", "top50"]
TOKENS, WIDTH, L0, BATCH = 60, 16384, 70, 2048


def save_shard(file: Path, examples: int) -> None:
    """A latents shard of examples of 60 tokens, L0 70; a tenth of the latents has half of the activations."""
    import pyarrow as pa
    from tessera.activations.shards import latents_schema, token_table
    from tessera.base.files import parquet_writer
    from tessera.saes.encoders import SparseActivations

    generator = np.random.default_rng(0)
    with parquet_writer(file, latents_schema(pa.float16())) as writer:
        for start in range(0, examples, BATCH // TOKENS):
            number = np.arange(start, min(start + BATCH // TOKENS, examples), dtype=np.uint32)
            N = len(number) * TOKENS
            common = np.argpartition(generator.random((N, WIDTH // 10)), L0 // 2, axis=1)[:, : L0 // 2]
            rare = WIDTH // 10 + generator.integers(0, WIDTH - WIDTH // 10, size=(N, L0 - L0 // 2))
            latents = [np.unique(row) for row in np.concatenate([common, rare], axis=1)]
            counts = np.array([len(row) for row in latents])
            values = generator.gamma(2, 1, counts.sum()).astype(np.float32)
            found = SparseActivations(counts, np.concatenate(latents).astype(np.uint32), values)
            position = np.tile(np.arange(TOKENS, dtype=np.uint32), len(number))
            rows = {"example": np.repeat(number, TOKENS), "position": position}
            writer.write_table(token_table(rows, found, pa.float16(), (0, "16k")))


def prepare(file: Path, out: Path):
    import scipy.sparse  # noqa: F401 (imported before the clock starts)
    import tessera.features.pooling  # noqa: F401

    return file, out


def work(state):
    from tessera.features.pooling import pool_shards

    file, out = state
    pool_shards([file], {pooling: out / f"{pooling}.parquet" for pooling in POOLINGS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, nargs="+", default=[1000, 10000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in options.examples:
            save_shard(root / f"{number}.parquet", number)
        found = side_by_side(
            options.rounds,
            {str(number): (prepare, work, root / f"{number}.parquet", root / "out") for number in options.examples},
        )
    for number, row in found.items():
        row["examples/s"] = int(number) / row["wall_s"]
    print(table(found, {"wall_s": ".2f", "examples/s": ".0f", "peak_mib": ".0f"}))


if __name__ == "__main__":
    main()
