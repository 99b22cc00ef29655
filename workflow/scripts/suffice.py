"""Do a few latents suffice for the decision, is it lost without them, and would other texts have named the same?"""

from tessera.base.files import write_named
from tessera.base.script import script
from tessera.evidence.reading import Place, suffice

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    files = inputs.examples, inputs.features, inputs.cells, inputs.shards
    place = Place(dict(snakemake.wildcards.items()), *files, params.settings)
    found = suffice(place, inputs.hidden, inputs.seeds, repeats=params.repeats, **params.asked)
    log.info("%s", found["stability"].to_dicts())
    write_named(snakemake.output, found)
