"""Read, check, sample and split one data set."""

from tessera.base.digests import sha256
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.examples.digests import with_sources
from tessera.examples.examples import describe, load_examples

IMAGES_AT_ONCE = 500  # to a row group, which readers hold in memory

with script(snakemake) as log:
    settings, answers = snakemake.params, snakemake.input.answers
    digests = {file: sha256(file) for file in snakemake.input}
    spec = settings.spec | ({"path": answers} if answers else {})
    examples = load_examples(snakemake.wildcards.data, spec, seed=settings.seed)
    for split in describe(examples).iter_rows(named=True):
        log.info("%s", split)
        if split["texts_in_training"]:
            log.warning(
                "%s: %d of %d texts of split %s are in the training split too (leakage)",
                snakemake.wildcards.data,
                split["texts_in_training"],
                split["examples"],
                split["split"],
            )
    write_parquet(
        snakemake.output[0],
        with_sources(examples, digests),
        rows=IMAGES_AT_ONCE if "image" in examples.columns else None,
    )
