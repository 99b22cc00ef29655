"""Labelled examples: read, checked, sampled and split, once for every cell."""


def examples_input(wildcards):
    return data_files(wildcards.data)


def examples_spec(wildcards):
    return DATASETS[wildcards.data]


rule examples:
    input:
        examples_input,
    output:
        grid.EXAMPLES,
    params:
        spec=examples_spec,
        seed=SEED,
        folds=STUDY["probe"]["folds"],
        version=VERSIONS["examples"],
    log:
        "logs/examples/data={data}.log",
    benchmark:
        "results/benchmarks/examples/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    message:
        "examples of {wildcards.data}"
    script:
        "../scripts/examples.py"
