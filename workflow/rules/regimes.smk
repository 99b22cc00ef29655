"""Regimes: the same probes on training splits that are small, unequal or partly wrong; a job has all of them at one place."""

for name, probe in regimes.fits(STUDY):

    rule:
        name:
            f"regimes_{name}_{probe}"
        input:
            examples=paths.EXAMPLES,
            features=of(cells.inputs, name=name),
        output:
            regimes.outputs(name, probe),
        log:
            f"logs/regimes_{name}_{probe}/{paths.keyed(*kind(name).place, 'data')}.log",
        benchmark:
            f"results/benchmarks/regimes_{name}_{probe}/{paths.keyed(*kind(name).place, 'data')}.tsv"
        group:
            cells.group(STUDY, probe)
        conda:
            f"../../envs/{cells.environment(STUDY, name, probe)}.yaml"
        resources:
            **cells.gpu(STUDY, probe),
            mem_mb=grows(probe_kind(probe).memory),
            runtime=grows(probe_kind(probe).minutes * STUDY.repeats * len(regimes.levels(STUDY))),
        params:
            kind=name,
            probe=probe,
            axes=kind(name).values(STUDY),
            settings=PROBE,
            device=cells.device(STUDY, probe),
            levels=regimes.levels(STUDY),
            repeats=of(data.repeats),
            version=VERSIONS["regimes"],
        message:
            f"{probe_kind(probe).title} on {kind(name).title} in regimes: {{wildcards}}"
        script:
            "../scripts/regimes.py"


rule regime_tables:
    input:
        **{part: of(regimes.every_job, part=part) for part in regimes.PARTS},
        **{f"plain_{part}": results.parquet(part) for part in regimes.PARTS},
    output:
        **results.outputs(STUDY, "regime_tables"),
    log:
        "logs/regime_tables.log",
    benchmark:
        "results/benchmarks/regime_tables.tsv"
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
        drawn=results.drawn(STUDY),
        version=VERSIONS["tables"],
    message:
        "table of regimes"
    script:
        "../scripts/regime_tables.py"
