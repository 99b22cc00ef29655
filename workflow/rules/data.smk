"""Labelled examples: read, checked, sampled and split, once for every cell."""


rule examples:
    input:
        data_files,
    output:
        grid.EXAMPLES,
    log:
        "logs/examples/data={data}.log",
    benchmark:
        "results/benchmarks/examples/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        spec=data_spec,
        seed=SEED,
        version=VERSIONS["examples"],
    message:
        "examples of {wildcards.data}"
    script:
        "../scripts/examples.py"
