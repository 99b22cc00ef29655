"""Features: the token-level activations of a layer and width, pooled to one sparse row per example, in every way."""


def shards_of(model, data, number):
    return [grid.ACTIVATIONS.format(model=model, data=data, number=number, shard=shard) for shard in shards(data)]


def pool_input(wildcards):
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer, wildcards.width)
    return shards_of(wildcards.model, wildcards.data, number)


rule pool:
    input:
        pool_input,
    output:
        expand(grid.FEATURES, pooling=POOLINGS, allow_missing=True),
    params:
        poolings=POOLINGS,
        version=VERSIONS["features"],
    log:
        "logs/pool/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/pool/model={model}/layer={layer}/width={width}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    message:
        "features of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/pool.py"
