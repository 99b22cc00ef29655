"""Transfer: probes fitted on one data set, or on several, scored on others; a job is one source with all its targets."""


rule transfer:
    input:
        features=transfer_features,
        examples=transfer_examples,
    output:
        expand(grid.TRANSFER, pooling=POOLINGS, threshold=THRESHOLDS, part=TRANSFER_PARTS, allow_missing=True),
    log:
        "logs/transfer/scenario={scenario}/source={source}/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/transfer/scenario={scenario}/source={source}/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        data=transfer_data,
        scenario=transfer_spec,
        width=latents,
        poolings=POOLINGS,
        thresholds=THRESHOLDS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["transfer"],
    message:
        "{wildcards.scenario}: from {wildcards.source}, {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}"
    script:
        "../scripts/transfer.py"


rule transfer_hidden:
    input:
        shards=transfer_shards,
        examples=transfer_examples,
    output:
        expand(grid.TRANSFER_HIDDEN, pooling=HIDDEN_POOLINGS, part=TRANSFER_PARTS, allow_missing=True),
    log:
        "logs/transfer_hidden/scenario={scenario}/source={source}/model={model}/layer={layer}.log",
    benchmark:
        "results/benchmarks/transfer_hidden/scenario={scenario}/source={source}/model={model}/layer={layer}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        data=transfer_data,
        scenario=transfer_spec,
        poolings=HIDDEN_POOLINGS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["transfer"],
    message:
        "{wildcards.scenario}: from {wildcards.source}, hidden states of {wildcards.model}, layer {wildcards.layer}"
    script:
        "../scripts/transfer_hidden.py"


rule transfer_tfidf:
    input:
        examples=transfer_examples,
    output:
        expand(grid.TRANSFER_TFIDF, unit=TFIDF_UNITS, part=TRANSFER_PARTS, allow_missing=True),
    log:
        "logs/transfer_tfidf/scenario={scenario}/source={source}.log",
    benchmark:
        "results/benchmarks/transfer_tfidf/scenario={scenario}/source={source}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        data=transfer_data,
        scenario=transfer_spec,
        units=TFIDF_UNITS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["transfer"],
    message:
        "{wildcards.scenario}: from {wildcards.source}, TF-IDF"
    script:
        "../scripts/transfer_tfidf.py"


rule transfer_pixels:
    input:
        examples=transfer_examples,
    output:
        expand(grid.TRANSFER_PIXELS, unit=PIXEL_UNITS, part=TRANSFER_PARTS, allow_missing=True),
    log:
        "logs/transfer_pixels/scenario={scenario}/source={source}.log",
    benchmark:
        "results/benchmarks/transfer_pixels/scenario={scenario}/source={source}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        data=transfer_data,
        scenario=transfer_spec,
        units=PIXEL_UNITS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["transfer"],
    message:
        "{wildcards.scenario}: from {wildcards.source}, pixels"
    script:
        "../scripts/transfer_pixels.py"


rule transfer_tables:
    input:
        **{f"{kind}_{part}": TRANSFER_CELLS[part][kind] for part in TRANSFER_PARTS for kind in TRANSFER_CELLS[part]},
        provenance="results/tables/provenance.parquet",
    output:
        **{table: f"results/tables/{table}.parquet" for table in [*TRANSFER_TABLES, "transfer_predictions"]},
        **{f"{table}_csv": f"results/tables/{table}.csv" for table in TRANSFER_TABLES},
    log:
        "logs/transfer_tables.log",
    benchmark:
        "results/benchmarks/transfer_tables.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        controls=CONTROLS,
        resamples=STUDY["probe"]["resamples"],
        seed=STUDY["probe"]["seed"],
        version=VERSIONS["tables"],
    message:
        "tables of transfer"
    script:
        "../scripts/transfer_tables.py"


rule draw_transfer:
    input:
        scores="results/tables/transfer.parquet",
        best="results/tables/transfer_best.parquet",
    output:
        pdf="results/figures/scenario={scenario}/{figure}.pdf",
        png=shown("results/figures/scenario={scenario}/{figure}", caption="transfer"),
    log:
        "logs/draw_transfer/scenario={scenario}/{figure}.log",
    benchmark:
        "results/benchmarks/draw_transfer/scenario={scenario}/{figure}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        version=VERSIONS["figures"],
    message:
        "figure of {wildcards.scenario}: {wildcards.figure}"
    script:
        "../scripts/draw_transfer.py"
