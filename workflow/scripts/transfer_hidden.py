"""Fit the probes of one layer's hidden states on a source, score them on all its targets."""

from pathlib import Path

from tessera.base.files import write_named
from tessera.base.script import job
from tessera.examples.examples import read_examples
from tessera.features.hidden import read_hidden
from tessera.features.spaces import standardise
from tessera.transfer.scenario import Transfer

with job(snakemake) as log:
    data, layer = snakemake.params.data, snakemake.wildcards.layer
    examples = dict(zip(data, map(read_examples, snakemake.input.examples), strict=True))
    transfer = Transfer(examples, **snakemake.params.scenario, **snakemake.params.settings)
    shards, name = snakemake.input.shards, f"hidden/layer={layer}.parquet"
    files = {one: [Path(shard) / name for shard in shards if f"/data={one}/" in shard] for one in data}
    for pooling in snakemake.params.poolings:
        found = transfer.run({one: read_hidden(files[one], pooling) for one in data}, standardise)
        log.info("%s: %s", pooling, found["scores"].to_dicts())
        write_named((out for out in snakemake.output if f"/pooling={pooling}/" in out), found)
