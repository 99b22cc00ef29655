"""Match the latents of two SAEs on unlabelled training texts, over examples and, where possible, over tokens."""

from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from tessera import aligned, maps
from tessera.base.files import write_parquet
from tessera.base.script import job
from tessera.features.hidden import read_hidden
from tessera.features.pooling import read_features
from threadpoolctl import threadpool_limits

with job(snakemake) as log, threadpool_limits(1):
    params, inputs = snakemake.params, snakemake.input
    texts, sides, poolings = params.texts, params.sides, params.poolings
    examples = dict(zip(texts, map(pl.read_parquet, inputs.examples), strict=True))
    rows = {data: aligned.training_texts(frame) for data, frame in examples.items()}
    features, hidden, tokens = {pooling: {} for pooling in poolings}, {}, {}
    for side, cell in sides.items():
        files = iter(inputs[f"features_{side}"])
        for pooling in poolings:
            parts = [read_features(Path(next(files)), cell["latents"])[rows[data]] for data in texts]
            features[pooling][side] = sp.vstack(parts, format="csr")
        shards = {data: [Path(f) for f in inputs[f"shards_{side}"] if f"/data={data}/" in f] for data in texts}
        hidden_files = {data: [f / f"hidden/layer={cell['layer']}.parquet" for f in shards[data]] for data in texts}
        if side == "a":
            budget = aligned.TOKENS_MOST // len(texts)
            wanted = {
                data: aligned.sampled_texts(examples[data], hidden_files[data], budget, params.seed) for data in texts
            }
        for pooling in {maps.HIDDEN_POOLING.get(pooling, "mean") for pooling in poolings}:
            parts = [read_hidden(hidden_files[data], pooling)[rows[data]] for data in texts]
            hidden.setdefault(pooling, {})[side] = np.concatenate(parts)
        name = f"latents/layer={cell['layer']}/width={cell['width']}.parquet"
        tokens[side] = [
            aligned.read_tokens([f / name for f in shards[data]], wanted[data], cell["latents"]) for data in texts
        ]
    names = [f"{cell['model']}, layer {cell['layer']}, width {cell['width']}" for cell in sides.values()]
    same_tokens = aligned.align(tokens.pop("a"), tokens.pop("b"), names)
    found = maps.find(maps.Sides(features, hidden, same_tokens, params.same, params.seed))
    for part, frame in found.items():
        write_parquet(snakemake.output[part], frame)
