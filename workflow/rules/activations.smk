"""Activations: one forward pass per model × data set × pass × shard feeds every layer and every SAE of the pass."""


rule extract:
    input:
        examples=paths.EXAMPLES,
        saes=of(saes.encoders),
        digests=of(saes.digests),
        weights=of(models.weights),
        folder=of(models.folder),
    output:
        shard=directory(paths.ACTIVATIONS),
        summary=paths.SUMMARY,
    log:
        "logs/extract/model={model}/data={data}/pass={pass}/shard={shard}.log",
    benchmark:
        "results/benchmarks/extract/model={model}/data={data}/pass={pass}/shard={shard}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        model=of(models.identity),
        stored=of(models.stored),
        layers=of(saes.layers),
        cells=of(saes.cells),
        shard_size=STUDY.shard_size,
        version=VERSIONS["activations"],
    message:
        "activations of {wildcards.model} on {wildcards.data}, pass {wildcards.pass}, shard {wildcards.shard}"
    script:
        "../scripts/extract.py"


rule activations:
    input:
        of(cells.every_shard, pattern=paths.ACTIVATIONS),
    localrule: True
