"""Peak memory of the activations and pooling stages against the number of examples.

python benchmarks/memory.py [--examples 1000 10000 100000]

Short texts, a small random model, one SAE, shards of the default 10,000 examples. As in the workflow, each shard is
extracted by a process of its own (the largest counts), and one process pools all shards.
"""

import argparse
import tempfile
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import polars as pl
import torch
from harness import measure, resident, table

SHARD = 10_000


def prepare(*arguments):
    return arguments


def extract_shard(state):
    import synthetic
    from tessera.activations.extraction import extract
    from tessera.models.loading import load_model

    torch.set_num_threads(2)
    root, examples, number, start = state
    model = load_model(synthetic.identity(root, max_tokens=32), depth=2)
    shard = pl.scan_parquet(examples).slice(start, SHARD).select("example", "text").collect()
    saes = {(1, "2048"): synthetic.encoder(root, 1, 2048)}
    out = root / f"shards-{number}" / str(start // SHARD)
    extract(model, shard, saes, [1], out, max_tokens=32, activation_dtype="float16")
    return resident("VmHWM")


def pool_all(state):
    from tessera.features.pooling import pool_shards

    root, number = state
    shards = sorted((root / f"shards-{number}").rglob("latents/**/*.parquet"))
    pool_shards(shards, {pooling: root / f"{pooling}.parquet" for pooling in ("sum", "max", "top20")})
    return resident("VmHWM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, nargs="+", default=[1000, 10000, 100000])
    options = parser.parse_args()
    import synthetic

    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthetic.save_study(root, "small", 20, [1], [2048])
        for number in options.examples:
            examples = root / f"examples-{number}.parquet"
            synthetic.texts(number, mean_words=8).write_parquet(examples, row_group_size=SHARD)
            shards = [
                measure(prepare, extract_shard, root, examples, number, start)["result"]
                for start in range(0, number, SHARD)
            ]
            pooling = measure(prepare, pool_all, root, number)["result"]
            rows[str(number)] = {"activations_mib": max(shards), "pooling_mib": pooling}
    print(table(rows, {"activations_mib": ".0f", "pooling_mib": ".0f"}))


if __name__ == "__main__":
    main()
