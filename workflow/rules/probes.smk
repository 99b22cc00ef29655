"""Probes: a job is one model × layer × width × data set; poolings and thresholds, the cheap axes, share its start."""


rule probe:
    input:
        features=expand(grid.FEATURES, pooling=POOLINGS, allow_missing=True),
        examples=grid.EXAMPLES,
    output:
        expand(
            grid.PROBE,
            pooling=POOLINGS,
            threshold=THRESHOLDS,
            part=PARTS,
            allow_missing=True,
        ),
    log:
        "logs/probe/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/probe/model={model}/layer={layer}/width={width}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        poolings=POOLINGS,
        thresholds=THRESHOLDS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["probes"],
    message:
        "probes on {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}, {wildcards.data}"
    script:
        "../scripts/probe.py"


rule probe_hidden:
    input:
        shards=shards_of_layer,
        examples=grid.EXAMPLES,
    output:
        expand(grid.HIDDEN, pooling=HIDDEN_POOLINGS, part=PARTS, allow_missing=True),
    log:
        "logs/probe_hidden/model={model}/layer={layer}/data={data}.log",
    benchmark:
        "results/benchmarks/probe_hidden/model={model}/layer={layer}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        poolings=HIDDEN_POOLINGS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["probes"],
    message:
        "baseline: hidden states of {wildcards.model}, layer {wildcards.layer}, {wildcards.data}"
    script:
        "../scripts/probe_hidden.py"


rule probe_tfidf:
    input:
        examples=grid.EXAMPLES,
    output:
        expand(grid.TFIDF, unit=TFIDF_UNITS, part=PARTS, allow_missing=True),
    log:
        "logs/probe_tfidf/data={data}.log",
    benchmark:
        "results/benchmarks/probe_tfidf/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        units=TFIDF_UNITS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["probes"],
    message:
        "baseline: TF-IDF, {wildcards.data}"
    script:
        "../scripts/probe_tfidf.py"
