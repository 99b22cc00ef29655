"""Activations: one forward pass per model × data set × pass × shard feeds every layer and every SAE of the pass."""


def extract_saes(wildcards):
    return [grid.SAE.format(**cell) + "/encoder.safetensors" for cell in pass_saes(wildcards)]


def extract_cells(wildcards):
    """(layer, width) of each SAE of the pass, in the order of extract_saes."""
    return [[int(cell["layer"]), cell["width"]] for cell in pass_saes(wildcards)]


rule extract:
    input:
        examples=grid.EXAMPLES,
        saes=extract_saes,
        files=residuals_files,
    output:
        shard=directory(grid.ACTIVATIONS),
        summary=grid.SUMMARY,
    params:
        model=model_params,
        layers=pass_layers,
        cells=extract_cells,
        shard_size=STUDY["shard_size"],
        version=VERSIONS["activations"],
    log:
        "logs/extract/model={model}/data={data}/pass={number}/shard={shard}.log",
    benchmark:
        "results/benchmarks/extract/model={model}/data={data}/pass={number}/shard={shard}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    message:
        "activations of {wildcards.model} on {wildcards.data}, pass {wildcards.number}, shard {wildcards.shard}"
    script:
        "../scripts/extract.py"


def activation_folders():
    return [
        grid.ACTIVATIONS.format(model=model, data=data, number=number, shard=shard)
        for model, spec in MODELS.items()
        for data in DATASETS
        for number in range(len(spec["passes"]))
        for shard in shards(data)
    ]


rule activations:
    input:
        activation_folders(),
