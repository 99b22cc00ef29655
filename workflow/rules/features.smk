"""Features: the token-level activations of a layer and width, pooled to one sparse row per example, in every way."""


rule pool:
    input:
        of(cells.shards_of),
    output:
        expand(paths.FEATURES, pooling=STUDY.grid["poolings"], allow_missing=True),
    log:
        "logs/pool/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/pool/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        poolings=STUDY.grid["poolings"],
        version=VERSIONS["features"],
    message:
        "features of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/pool.py"
