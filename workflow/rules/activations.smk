"""Activations: one forward pass per model × data set × pass × shard feeds every layer and every SAE of the pass.

Sentence embeddings: one more per model × data set × shard, of the models that the config names.
"""


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


rule embed:
    input:
        examples=paths.EXAMPLES,
        weights=of(models.weights),
        folder=of(models.folder),
        pooling=given(models.pooling_files),
    output:
        paths.EMBEDDINGS,
    log:
        "logs/embed/model={model}/data={data}/shard={shard}.log",
    benchmark:
        "results/benchmarks/embed/model={model}/data={data}/shard={shard}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        model=of(models.identity),
        shard_size=STUDY.shard_size,
        version=VERSIONS["embeddings"],
    message:
        "sentence embeddings of {wildcards.model} on {wildcards.data}, shard {wildcards.shard}"
    script:
        "../scripts/embed.py"


# Not a part of extract: whoever asks for token states later keeps all activations that are there.
rule token_states:
    input:
        examples=paths.EXAMPLES,
        saes=of(saes.read_along),
        weights=of(models.weights),
        folder=of(models.folder),
    output:
        directory(paths.TOKEN_STATES),
    log:
        "logs/token_states/model={model}/data={data}/shard={shard}.log",
    benchmark:
        "results/benchmarks/token_states/model={model}/data={data}/shard={shard}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        model=of(models.identity),
        stored=of(models.stored),
        layers=of(models.token_layers),
        cells=of(saes.cells_along),
        shard_size=STUDY.shard_size,
        version=VERSIONS["token_states"],
    message:
        "token states of {wildcards.model} on {wildcards.data}, shard {wildcards.shard}"
    script:
        "../scripts/token_states.py"


rule activations:
    input:
        of(cells.every_shard, pattern=paths.ACTIVATIONS),
        of(cells.every_input, name="embeddings"),
        of(cells.every_input, name="tokens"),
    localrule: True
