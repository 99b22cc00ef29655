"""Models tuned, and SAEs: trained on a model's cached activations or taken from a folder, then prepared for the extractor."""


rule tune:
    input:
        examples=tuning_examples,
        files=tuning_files,
    output:
        directory(grid.TUNED),
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
        recipe=tuning_recipe,
        base=tuning_base,
        version=VERSIONS["tune"],
    message:
        "{wildcards.model}: fine-tuning"
    script:
        "../scripts/tune.py"


rule residuals:
    input:
        examples=training_texts,
        files=model_files,
    output:
        directory(grid.RESIDUALS),
    log:
        "logs/residuals/model={model}/pass={number}/texts={texts}.log",
    benchmark:
        "results/benchmarks/residuals/model={model}/pass={number}/texts={texts}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        model=model_identity,
        hooks=hooks_to_cache,
        tokens=tokens_to_cache,
        version=VERSIONS["residuals"],
    message:
        "residuals of {wildcards.model}, pass {wildcards.number}, to train SAEs on"
    script:
        "../scripts/residuals.py"


rule train_sae:
    input:
        training_residuals,
    output:
        sae=directory(grid.TRAINED),
        quality=grid.QUALITY,
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
        recipe=training_recipe,
        width=latents,
        device=asked_device,
        version=VERSIONS["train_sae"],
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: training"
    script:
        "../scripts/train_sae.py"


rule measure_sae:
    input:
        residuals=training_residuals,
        sae=trained_folder,
    output:
        grid.BORROWED,
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
        architecture=trained_architecture,
        version=VERSIONS["train_sae"],
    message:
        "SAE of another model on {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: quality"
    script:
        "../scripts/measure_sae.py"


rule prepare_sae:
    input:
        sae_files,
    output:
        grid.ENCODER,
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
        width=latents,
        release=sae_release,
        hook=asked_hook,
        model=trained_on,
        version=VERSIONS["prepare_sae"],
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: encoder"
    script:
        "../scripts/prepare_sae.py"
