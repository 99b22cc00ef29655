"""Answer the claims of the study, one by one."""

import polars as pl
from tessera.base.script import script
from tessera.results import claims, provenance, tables
from tessera.results.writing import Writer

with script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    scores, predictions = pl.read_parquet(inputs.scores), pl.scan_parquet(inputs.predictions)
    cells = claims.Cells(scores, predictions, params.identified)
    contrasts = cells.within([data for data in params.datasets if data not in params.behaviour])
    behaviour, joint = cells.behaviour(params.behaviour, params.controls)
    if inputs.get("transfer_best"):
        best, transferred = pl.read_parquet(inputs.transfer_best), pl.scan_parquet(inputs.transfer_predictions)
        contrasts += claims.between(best, transferred)
    joined = claims.of_matches(pl.read_parquet(inputs.match_claims)) if inputs.get("match_claims") else []
    if inputs.get("evidence_claims"):
        joined += claims.of_evidence(pl.read_parquet(inputs.evidence_claims))
    if inputs.get("intervention_claims"):
        joined += claims.of_evidence(pl.read_parquet(inputs.intervention_claims), "the intervention")
    found = claims.judge([*contrasts, *behaviour], params.primary, joined)
    found = pl.concat([found, *(claims.together(claim, found, parts) for claim, parts in joint.items())])
    Writer(dict(snakemake.output.items()), provenance.passed_on(inputs.scores)).write(
        claims=found, behaviour=tables.behaviour_table(scores, params.behaviour, params.controls)
    )
    log.info("%s", found["verdict"].value_counts().rows())
