"""Probes: a job is one model × layer × width × data set; poolings, thresholds and selections, the cheap axes, share its start."""


rule probe:
    input:
        features=expand(grid.FEATURES, pooling=POOLINGS, allow_missing=True),
        examples=grid.EXAMPLES,
    output:
        expand(
            grid.PROBE,
            pooling=POOLINGS,
            threshold=THRESHOLDS,
            selection=SELECTIONS,
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
        selections=SELECTIONS,
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


rule probe_text:
    input:
        examples=grid.EXAMPLES,
    output:
        expand(grid.TFIDF, unit=TFIDF_UNITS, part=PARTS, allow_missing=True),
        expand(grid.LENGTH, part=PARTS, allow_missing=True) if WITH_LENGTH else [],
    log:
        "logs/probe_text/data={data}.log",
    benchmark:
        "results/benchmarks/probe_text/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        units=TFIDF_UNITS,
        length=WITH_LENGTH,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["probes"],
    message:
        "baselines: TF-IDF and length, {wildcards.data}"
    script:
        "../scripts/probe_text.py"


rule probe_pixels:
    input:
        examples=grid.EXAMPLES,
    output:
        expand(grid.PIXELS, unit=PIXEL_UNITS, part=PARTS, allow_missing=True),
    log:
        "logs/probe_pixels/data={data}.log",
    benchmark:
        "results/benchmarks/probe_pixels/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        units=PIXEL_UNITS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["probes"],
    message:
        "baseline: pixels, {wildcards.data}"
    script:
        "../scripts/probe_pixels.py"
