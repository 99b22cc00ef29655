"""Score the probes of one SAE on the other's features through every pairing, in both directions, beside controls."""

import polars as pl
from tessera.base import hive
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.examples.examples import read_examples
from tessera.matching import carry
from tessera.matching.reading import Reader, read_ridges, read_side
from tessera.probes.task import Task

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    examples = {data: read_examples(hive.one(inputs.examples, data=data)) for data in params.all}
    readers = {
        side: Reader(place, *(inputs[f"{part}_{side}"] for part in ("features", "shards", "cells")))
        for side, place in params.sides.items()
    }
    ridges = read_ridges(readers, {data: examples[data] for data in params.texts}, params.hidden_poolings)
    pairings = pl.read_parquet(inputs.pairings)
    answered = {}
    for data in params.data:
        task = Task(examples[data], **params.settings)
        sides = {
            side: read_side(reader, data, task, params.cells, params.hidden_poolings)
            for side, reader in readers.items()
        }
        answered[data] = task, carry.answer(task, sides, pairings, ridges, params.settings["seed"])
        log.info("%s: %d conditions", data, len(answered[data][1]))
    for part, frame in carry.results(answered).items():
        write_parquet(snakemake.output[part], frame)
