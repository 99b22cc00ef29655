"""Models unpacked, tuned and identified, and SAEs: trained on cached activations or taken from a folder, then prepared for extraction."""


rule unpack:
    input:
        given(models.files),
    output:
        directory(paths.UNPACKED),
    log:
        "logs/unpack/model={model}.log",
    benchmark:
        "results/benchmarks/unpack/model={model}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        packed=of(models.packed),
        version=VERSIONS["unpack"],
    message:
        "{wildcards.model}: a model folder of its GGUF file"
    script:
        "../scripts/unpack.py"


rule tune:
    input:
        examples=of(models.tuning_examples),
        weights=of(models.base_weights),
        folder=of(models.base_folder),
    output:
        directory(paths.TUNED),
    log:
        "logs/tune/model={model}.log",
    benchmark:
        "results/benchmarks/tune/model={model}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        recipe=of(models.recipe),
        base=of(models.base),
        version=VERSIONS["tune"],
    message:
        "{wildcards.model}: fine-tuning"
    script:
        "../scripts/tune.py"


rule weights:
    input:
        files=given(models.files),
        folder=of(models.folder),
    output:
        paths.WEIGHTS,
    log:
        "logs/weights/model={model}.log",
    benchmark:
        "results/benchmarks/weights/model={model}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        model=of(models.identity),
        version=VERSIONS["weights"],
    message:
        "{wildcards.model}: which weights it has"
    script:
        "../scripts/weights.py"


rule residuals:
    input:
        examples=of(saes.training_examples),
        weights=of(models.weights),
        folder=of(models.folder),
    output:
        directory(paths.RESIDUALS),
    log:
        "logs/residuals/model={model}/pass={pass}/texts={texts}.log",
    benchmark:
        "results/benchmarks/residuals/model={model}/pass={pass}/texts={texts}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        model=of(models.identity),
        hooks=of(saes.hooks),
        tokens=of(saes.tokens),
        version=VERSIONS["residuals"],
    message:
        "residuals of {wildcards.model}, pass {wildcards.pass}, to train SAEs on"
    script:
        "../scripts/residuals.py"


rule train_sae:
    input:
        of(saes.residuals),
    output:
        sae=directory(paths.TRAINED),
        quality=paths.QUALITY,
    log:
        "logs/train_sae/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/train_sae/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        recipe=of(saes.recipe),
        width=of(saes.latents),
        device=of(saes.device),
        version=VERSIONS["train_sae"],
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: training"
    script:
        "../scripts/train_sae.py"


rule measure_sae:
    input:
        residuals=of(saes.residuals),
        sae=of(saes.trained),
    output:
        paths.BORROWED,
    log:
        "logs/measure_sae/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/measure_sae/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        architecture=of(saes.architecture),
        version=VERSIONS["train_sae"],
    message:
        "SAE of another model on {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: quality"
    script:
        "../scripts/measure_sae.py"


rule prepare_sae:
    input:
        given(saes.files),
        of(saes.trained_here),
    output:
        encoder=paths.ENCODER,
        digest=paths.DIGEST,
    log:
        "logs/prepare_sae/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/prepare_sae/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(20),
    params:
        width=of(saes.latents),
        release=of(saes.release),
        hook=of(saes.hook),
        model=of(saes.trained_on),
        version=VERSIONS["prepare_sae"],
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: encoder"
    script:
        "../scripts/prepare_sae.py"


rule prepare_decoder:
    input:
        given(saes.files),
        of(saes.trained_here),
    output:
        decoder=paths.DECODER,
    log:
        "logs/prepare_decoder/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/prepare_decoder/model={model}/layer={layer}/width={width}.tsv"
    priority: 1  # what takes latents out of a model waits for it
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(20),
    params:
        width=of(saes.latents),
        release=of(saes.release),
        hook=of(saes.hook),
        model=of(saes.trained_on),
        version=VERSIONS["prepare_sae"],
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: decoder"
    script:
        "../scripts/prepare_sae.py"
