"""Labelled examples: labels made by a model where the study asks for it; read, checked, sampled and split, once for every cell."""


rule answers:
    input:
        data=given(data.files),
        weights=of(data.answering_weights),
        folder=of(data.answering_folder),
    output:
        paths.ANSWERS,
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
        spec=of(data.prompts),
        model=of(data.answering),
        seed=STUDY.seed,
        version=VERSIONS["answers"],
    message:
        "{wildcards.data}: labels from a model's answers"
    script:
        "../scripts/answers.py"


rule examples:
    input:
        given(data.files),
        answers=of(data.answers),
    output:
        paths.EXAMPLES,
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
        spec=of(data.spec),
        seed=STUDY.seed,
        version=VERSIONS["examples"],
    message:
        "examples of {wildcards.data}"
    script:
        "../scripts/examples.py"
