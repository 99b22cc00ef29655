"""Probes: a job is one model × layer × width × data set; poolings and thresholds, the cheap axes, share its start."""

PROBE_FILES = ["scores", "predictions", "coefficients"]


rule probe:
    input:
        features=expand(grid.FEATURES, pooling=POOLINGS, allow_missing=True),
        examples=grid.EXAMPLES,
    output:
        expand(
            grid.PROBE + "/{file}.parquet",
            pooling=POOLINGS,
            threshold=THRESHOLDS,
            file=PROBE_FILES,
            allow_missing=True,
        ),
    params:
        poolings=POOLINGS,
        thresholds=THRESHOLDS,
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/probe/model={model}/layer={layer}/width={width}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "probes on {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}, {wildcards.data}"
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
        expand(grid.HIDDEN + "/{file}.parquet", pooling=HIDDEN_POOLINGS, file=PROBE_FILES, allow_missing=True),
    params:
        poolings=HIDDEN_POOLINGS,
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe_hidden/model={model}/layer={layer}/data={data}.log",
    benchmark:
        "results/benchmarks/probe_hidden/model={model}/layer={layer}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "baseline: hidden states of {wildcards.model}, layer {wildcards.layer}, {wildcards.data}"
    script:
        "../scripts/probe_hidden.py"


rule probe_tfidf:
    input:
        examples=grid.EXAMPLES,
    output:
        expand(grid.TFIDF + "/{file}.parquet", unit=TFIDF_UNITS, file=PROBE_FILES, allow_missing=True),
    params:
        units=TFIDF_UNITS,
        settings=probe_settings(),
        version=VERSIONS["probes"],
    log:
        "logs/probe_tfidf/data={data}.log",
    benchmark:
        "results/benchmarks/probe_tfidf/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "baseline: TF-IDF, {wildcards.data}"
    script:
        "../scripts/probe_tfidf.py"
