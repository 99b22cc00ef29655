"""Labelled examples: labels made by a model where the study asks for it; read, checked, sampled and split, once for every cell."""


rule answers:
    input:
        data=raw_files,
        files=answering_files,
    output:
        grid.ANSWERS,
    log:
        "logs/answers/data={data}.log",
    benchmark:
        "results/benchmarks/answers/data={data}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        spec=raw_spec,
        model=answering_model,
        seed=SEED,
        version=VERSIONS["answers"],
    message:
        "{wildcards.data}: labels from a model's answers"
    script:
        "../scripts/answers.py"


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
