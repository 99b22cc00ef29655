"""Activations: one forward pass per model × data set × pass × shard feeds every layer and every SAE of the pass."""


rule extract:
    input:
        examples=grid.EXAMPLES,
        saes=pass_encoders,
        files=model_files,
    output:
        shard=directory(grid.ACTIVATIONS),
        summary=grid.SUMMARY,
    log:
        "logs/extract/model={model}/data={data}/pass={number}/shard={shard}.log",
    benchmark:
        "results/benchmarks/extract/model={model}/data={data}/pass={number}/shard={shard}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        model=model_identity,
        layers=pass_layers,
        cells=pass_cells,
        shard_size=STUDY["shard_size"],
        version=VERSIONS["activations"],
    message:
        "activations of {wildcards.model} on {wildcards.data}, pass {wildcards.number}, shard {wildcards.shard}"
    script:
        "../scripts/extract.py"


rule activations:
    input:
        every_shard(grid.ACTIVATIONS),
