"""Match the latents of two SAEs on unlabelled training texts, over examples and, where possible, over tokens."""

from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.matching.pairings import find
from tessera.matching.reading import Reader, read_sides
from threadpoolctl import threadpool_limits

with script(snakemake), threadpool_limits(1):
    inputs, params = snakemake.input, snakemake.params
    readers = {
        side: Reader(place, inputs[f"features_{side}"], inputs[f"shards_{side}"], [])
        for side, place in params.sides.items()
    }
    sides = read_sides(readers, inputs.examples, params.texts, params.poolings, same=params.same, seed=params.seed)
    for part, frame in find(sides).items():
        write_parquet(snakemake.output[part], frame)
