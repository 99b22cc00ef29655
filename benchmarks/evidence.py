"""The table of latents, contexts and decisions of one SAE of 16,384 latents: seconds and memory by number of texts.

python benchmarks/evidence.py [--examples 5000 20000 100000]

Texts of 20 tokens with 70 active latents each, two classes, a fifth of the texts in the test split. As in the workflow,
each is a job of its own, which reads shards and pooled features off the disk.
"""

import argparse
import tempfile
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import numpy as np
import polars as pl
from harness import measure, resident, table

TOKENS, WIDTH, L0, BATCH = 20, 16384, 70, 100
KEYS = {"model": "m", "layer": "0", "width": "16k", "data": "d"}
SETTINGS = {"seed": 0, "folds": 5, "resamples": 100, "C": [1.0]}


def save_place(root: Path, examples: int) -> None:
    """Examples, one shard with its tokens, pooled features, and a cell with random weights."""
    import pyarrow as pa
    from tessera.activations.shards import latents_schema, token_table
    from tessera.base.files import parquet_writer, write_parquet
    from tessera.features.pooling import pool_folders
    from tessera.saes.encoders import SparseActivations
    from tessera.study import paths

    generator, number = np.random.default_rng(0), pl.Series(range(examples), dtype=pl.UInt32)
    frame = pl.DataFrame({"example": number, "id": number.cast(pl.String), "group": number, "near": number})
    text = " ".join(f"w{token:02d}" for token in range(TOKENS))
    frame = frame.with_columns(
        text=pl.lit(text),
        label=pl.Series(np.where(generator.random(examples) < 0.5, "a", "b")),
        split=pl.when(number % 5 == 0).then(pl.lit("test")).otherwise(pl.lit("train")),
    )
    write_parquet(root / "data=d/examples.parquet", frame)
    shard = root / "shard=0"
    spans = [(4 * token, 4 * token + 3) for token in range(TOKENS)]
    places = pa.schema(dict.fromkeys(("example", "position", "start", "end"), pa.uint32()))
    with (
        parquet_writer(shard / paths.LATENTS.format(**KEYS), latents_schema(pa.float16())) as latents,
        parquet_writer(shard / paths.TOKENS, places) as tokens,
    ):
        for start in range(0, examples, BATCH):
            size = min(BATCH, examples - start)
            example = np.repeat(np.arange(start, start + size, dtype=np.uint32), TOKENS)
            rows = {"example": example, "position": np.tile(np.arange(TOKENS, dtype=np.uint32), size)}
            drawn = np.sort((generator.random((len(example), L0)) ** 2 * WIDTH).astype(np.uint32), axis=1)
            new = np.concatenate([np.ones((len(example), 1), bool), drawn[:, 1:] != drawn[:, :-1]], axis=1)
            values = generator.gamma(2, 1, new.sum()).astype(np.float32)
            latents.write_table(
                token_table(rows, SparseActivations(new.sum(axis=1), drawn[new], values), pa.float16(), ())
            )
            ends = np.tile(np.array(spans, dtype=np.uint32), (size, 1))
            tokens.write_table(pa.table([*map(pa.array, (*rows.values(), ends[:, 0], ends[:, 1]))], schema=places))
    pool_folders([shard], {"sum": root / "pooling=sum/features.parquet"}, layer="0", width="16k")
    weights = generator.normal(size=WIDTH + 1).astype(np.float32)
    latent = pl.Series([*range(WIDTH), None], dtype=pl.Int32)
    fit = {"repeat": [0], "cv_macro_f1": [0.5], "C": [1.0], "C_at_edge": [False], "converged": [True], "tau": [None]}
    cell = root / "pooling=sum/threshold=none/selection=none"
    write_parquet(cell / "scores.parquet", pl.DataFrame(fit, schema_overrides={"tau": pl.Float64}))
    columns = {"repeat": [0] * (WIDTH + 1), "class": ["b"] * (WIDTH + 1), "latent": latent, "weight": weights}
    write_parquet(cell / "coefficients.parquet", pl.DataFrame(columns).with_columns(scale=pl.lit(1.0, pl.Float32)))


def prepare(root: Path):
    import tessera.evidence.reading  # noqa: F401 (imported before the clock starts)

    return root


def place_of(root: Path):
    from tessera.evidence.reading import Place

    cell = root / "pooling=sum/threshold=none/selection=none"
    cells = [str(cell / f"{part}.parquet") for part in ("scores", "coefficients")]
    features = [str(root / "pooling=sum/features.parquet")]
    return Place(KEYS, str(root / "data=d/examples.parquet"), features, cells, [str(root / "shard=0")], SETTINGS)


def latents(root: Path) -> float:
    from tessera.evidence.reading import weigh

    weigh(place_of(root), latents=5, ids=[])["shown"].write_parquet(root / "shown.parquet")
    return resident("VmHWM")


def contexts(root: Path) -> float:
    from tessera.evidence.reading import read_contexts

    read_contexts(place_of(root), pl.read_parquet(root / "shown.parquet"), [str(root / "shard=0")], 12)
    return resident("VmHWM")


def decisions(root: Path) -> float:
    from tessera.base.files import write_parquet, write_parts
    from tessera.evidence.reading import explain_decisions

    decided, listed = explain_decisions(place_of(root))
    write_parquet(root / "decisions.parquet", decided)
    write_parts(root / "decision_latents.parquet", listed)
    return resident("VmHWM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, nargs="+", default=[5000, 20000, 100000])
    options = parser.parse_args()
    rows = {}
    for number in options.examples:
        with tempfile.TemporaryDirectory() as folder:
            save_place(Path(folder), number)
            for work in (latents, contexts, decisions):
                rows[f"{number} {work.__name__}"] = measure(prepare, work, Path(folder))
    print(table(rows, {"wall_s": ".1f", "cpu_s": ".1f", "result": ".0f"}))


if __name__ == "__main__":
    main()
