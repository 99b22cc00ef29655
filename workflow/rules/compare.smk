"""Single cells that a user names: two compared, and the learning curve of one. They are in no table of the study."""


rule compare_cells:
    input:
        left=of(named.predictions, key="left"),
        right=of(named.predictions, key="right"),
        examples=of(named.examples),
    output:
        **{
            f"{table}_{format}": paths.COMPARISON.replace("{table}", table).replace("{format}", format)
            for table in named.TABLES
            for format in ("parquet", "csv")
        },
    log:
        "logs/compare_cells/left={left}/right={right}.log",
    benchmark:
        "results/benchmarks/compare_cells/left={left}/right={right}.tsv"
    wildcard_constraints:
        left="[^/=]+",
        right="[^/=]+",
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(20),
    params:
        resamples=PROBE["resamples"],
        seed=PROBE["seed"],
        version=VERSIONS["compare"],
    message:
        "{wildcards.left} against {wildcards.right}"
    script:
        "../scripts/compare.py"


rule fit_curve:
    input:
        examples=of(named.curve_examples),
        features=of(named.curve_features),
    output:
        **{format: paths.LEARNING_CURVE.replace("{format}", format) for format in ("parquet", "csv", "pdf", "png")},
    log:
        "logs/fit_curve/cell={cell}.log",
    benchmark:
        "results/benchmarks/fit_curve/cell={cell}.tsv"
    wildcard_constraints:
        cell="[^/=]+",
    conda:
        "../../envs/exports.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60 * STUDY.repeats),
    params:
        place=lambda wildcards: named.place(STUDY, wildcards.cell),
        settings=PROBE,
        repeats=lambda wildcards: data.repeats(STUDY, named.place(STUDY, wildcards.cell)["data"]),
        version=VERSIONS["curves"],
    message:
        "learning curve of {wildcards.cell}"
    script:
        "../scripts/curve.py"


rule compare:
    input:
        named_by(named.comparison, "left", "right"),
    localrule: True


rule learning_curve:
    input:
        named_by(named.curve, "cell"),
    localrule: True
