"""Probes: one job per model × layer × width × pooling × data set writes the cells of all thresholds."""

PROBE_FILES = ["scores", "predictions", "coefficients"]


rule probe:
    input:
        features=grid.FEATURES,
        examples=grid.EXAMPLES,
    output:
        expand(grid.PROBE + "/{file}.parquet", threshold=THRESHOLDS, file=PROBE_FILES, allow_missing=True),
    params:
        thresholds=THRESHOLDS,
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe/model={model}/layer={layer}/width={width}/pooling={pooling}/data={data}.log",
    benchmark:
        "results/benchmarks/probe/model={model}/layer={layer}/width={width}/pooling={pooling}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "probes on {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}, {wildcards.pooling}, {wildcards.data}"
    script:
        "../scripts/probe.py"


def hidden_input(wildcards):
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer)
    return shards_of(wildcards.model, wildcards.data, number)


rule probe_hidden:
    input:
        shards=hidden_input,
        examples=grid.EXAMPLES,
    output:
        expand(grid.HIDDEN + "/{file}.parquet", file=PROBE_FILES, allow_missing=True),
    params:
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe_hidden/model={model}/layer={layer}/pooling={pooling}/data={data}.log",
    benchmark:
        "results/benchmarks/probe_hidden/model={model}/layer={layer}/pooling={pooling}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "baseline: hidden states of {wildcards.model}, layer {wildcards.layer}, {wildcards.pooling}, {wildcards.data}"
    script:
        "../scripts/probe_hidden.py"


rule probe_tfidf:
    input:
        examples=grid.EXAMPLES,
    output:
        expand(grid.TFIDF + "/{file}.parquet", file=PROBE_FILES, allow_missing=True),
    params:
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe_tfidf/pooling={pooling}/data={data}.log",
    benchmark:
        "results/benchmarks/probe_tfidf/pooling={pooling}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "baseline: TF-IDF of {wildcards.pooling}s, {wildcards.data}"
    script:
        "../scripts/probe_tfidf.py"
