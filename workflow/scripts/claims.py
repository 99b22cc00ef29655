"""Answer the claims of the study, one by one."""

import polars as pl
from tessera import claims, provenance, tables
from tessera.base.script import job

with job(snakemake) as log:
    inputs, settings = snakemake.input, snakemake.params
    write = provenance.table_writer(dict(snakemake.output.items()), provenance.passed_on(inputs.scores))
    scores, predictions = pl.read_parquet(inputs.scores), pl.scan_parquet(inputs.predictions)
    contrasts = claims.within(scores, predictions)
    behaviour, joint = claims.behaviour(scores, predictions, settings.behaviour, settings.controls)
    if inputs.get("transfer_best"):
        best, transferred = pl.read_parquet(inputs.transfer_best), pl.scan_parquet(inputs.transfer_predictions)
        contrasts += claims.between(best, transferred)
    found = claims.judge([*contrasts, *behaviour], resamples=settings.resamples, seed=settings.seed)
    found = pl.concat([found, *(claims.together(claim, found, parts) for claim, parts in joint.items())])
    if inputs.get("match_claims"):
        found = pl.concat([found, claims.of_matches(pl.read_parquet(inputs.match_claims))])
    write("claims", found)
    write("behaviour", tables.behaviour_table(scores, settings.behaviour, settings.controls))
    log.info("%s", found["verdict"].value_counts().rows())
