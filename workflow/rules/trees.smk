"""Trees: which columns tell most to the best of them on each data set, where a study asks for trees."""


rule explain_trees:
    input:
        unpack(of(trees.features)),
        examples=paths.EXAMPLES,
        scores=of(trees.scores),
    output:
        paths.SHAP,
    log:
        "logs/explain_trees/data={data}.log",
    benchmark:
        "results/benchmarks/explain_trees/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/numba.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        settings=PROBE,
        version=VERSIONS["shap"],
    message:
        "what tells most to trees on {wildcards.data}"
    script:
        "../scripts/explain_trees.py"


rule shap_tables:
    input:
        parts=trees.every(STUDY),
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "shap_tables"),
    log:
        "logs/shap_tables.log",
    benchmark:
        "results/benchmarks/shap_tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        table="shap_values",
        version=VERSIONS["tables"],
    message:
        "table of SHAP values"
    script:
        "../scripts/merge.py"
