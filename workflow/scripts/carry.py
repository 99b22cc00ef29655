"""Score the probes of one SAE on the other's features through every map, in both directions, beside the controls."""

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from tessera import aligned, carried, maps
from tessera.base.files import write_parquet
from tessera.base.script import job
from tessera.features.hidden import read_hidden
from tessera.features.pooling import read_features
from tessera.probes.task import Task, read_probe

with job(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    sides, settings = params.sides, params.settings
    cells = list(product(params.poolings, params.thresholds, params.selections))
    needed = {maps.HIDDEN_POOLING.get(pooling, "mean") for pooling in params.poolings} | set(params.hidden_poolings)
    examples = dict(zip(params.all, map(pl.read_parquet, inputs.examples), strict=True))
    found_maps = pl.read_parquet(inputs.maps)

    def hidden(side: str, data: str, pooling: str) -> np.ndarray:
        shards = [Path(file) for file in inputs[f"shards_{side}"] if f"/data={data}/" in file]
        return read_hidden([shard / f"hidden/layer={sides[side]['layer']}.parquet" for shard in shards], pooling)

    ridges = {}
    rows = {data: aligned.training_texts(examples[data]) for data in params.texts}
    for pooling in params.hidden_poolings:
        training = {side: np.concatenate([hidden(side, data, pooling)[rows[data]] for data in rows]) for side in "ab"}
        for source, target in ("ab", "ba"):
            ridges[source, pooling] = carried.ridge(training[target], training[source])
    files = {
        key: iter(inputs[key]) for side in "ab" for key in (f"features_{side}", f"probes_{side}", f"linear_{side}")
    }
    answered = {}
    for data in params.data:
        task = Task(examples[data], **settings)
        both = {}
        for side, cell in sides.items():
            probes, linear = files[f"probes_{side}"], files[f"linear_{side}"]
            both[side] = carried.Side(
                {
                    pooling: read_features(Path(next(files[f"features_{side}"])), cell["latents"])
                    for pooling in params.poolings
                },
                {pooling: hidden(side, data, pooling) for pooling in needed},
                {
                    here: read_probe(pl.read_parquet(next(probes)), pl.read_parquet(next(probes)), task.classes)
                    for here in cells
                },
                {
                    pooling: read_probe(pl.read_parquet(next(linear)), pl.read_parquet(next(linear)), task.classes)[0]
                    for pooling in params.hidden_poolings
                },
            )
        answered[data] = task, carried.answer(task, both, found_maps, ridges, settings["seed"])
        log.info("%s: %d conditions", data, len(answered[data][1]))
    scored = {data: carried.score(*answers) for data, answers in answered.items()}
    for number, part in enumerate(("scores", "predictions")):
        frames = [both[number].insert_column(0, pl.lit(data).alias("data")) for data, both in scored.items()]
        write_parquet(snakemake.output[part], pl.concat(frames))
    write_parquet(snakemake.output.claims, carried.claims(answered))
