"""Transfer: probes fitted on one data set, or on several, scored on others; a rule per kind of features, a job per source."""

for name in transfers.transferred(STUDY):

    rule:
        name:
            f"transfer_{name}"
        input:
            examples=of(transfers.examples),
            features=of(transfers.features, name=name),
        output:
            transfers.outputs(STUDY, name),
        log:
            f"logs/transfer_{name}/{paths.keyed('scenario', 'source', *kind(name).place)}.log",
        benchmark:
            f"results/benchmarks/transfer_{name}/{paths.keyed('scenario', 'source', *kind(name).place)}.tsv"
        group:
            "cells"
        conda:
            f"../../envs/{kind(name).environment}.yaml"
        resources:
            mem_mb=grows(8000),
            runtime=grows(120 * STUDY.repeats),
        params:
            kind=name,
            scenario=of(transfers.spec),
            axes=transfers.values(STUDY, name),
            settings=PROBE,
            repeats=of(transfers.repeats),
            version=VERSIONS["transfer"],
        message:
            f"transfer on {kind(name).title}: {{wildcards}}"
        script:
            "../scripts/transfer.py"


rule transfer_tables:
    input:
        **{part: of(transfers.every_cell, part=part) for part in cells.TRANSFER_PARTS},
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "transfer_tables"),
    log:
        "logs/transfer_tables.log",
    benchmark:
        "results/benchmarks/transfer_tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        controls=STUDY.controls,
        frozen=results.frozen(STUDY),
        learnt={scenario: entry["sources"] for scenario, entry in STUDY.transfers.items()},
        resamples=STUDY.probe["resamples"],
        seed=STUDY.probe["seed"],
        version=VERSIONS["tables"],
    message:
        "tables of transfer"
    script:
        "../scripts/transfer_tables.py"
