"""SAEs: trained on a model's cached activations or taken from a folder, then prepared for the extractor."""


def pass_saes(wildcards):
    """The SAE cells of one pass of one model."""
    wanted = wildcards.model, int(wildcards.number)
    return [cell for cell in SAE_CELLS if (cell["model"], cell["number"]) == wanted]


def pass_layers(wildcards):
    return sorted(int(layer) for layer in MODELS[wildcards.model]["passes"][int(wildcards.number)])


def residuals_input(wildcards):
    texts = recipe(wildcards.model)["train"]["texts"]
    return expand(grid.EXAMPLES, data=texts)


def residuals_files(wildcards):
    return model_files(wildcards.model)


def residuals_layers(wildcards):
    return sorted({int(cell["layer"]) for cell in pass_saes(wildcards)})


def model_params(wildcards):
    return model_identity(wildcards.model)


def tokens_to_cache(wildcards):
    return recipe(wildcards.model)["train"]["tokens"]


rule residuals:
    input:
        examples=residuals_input,
        files=residuals_files,
    output:
        directory(grid.RESIDUALS),
    params:
        model=model_params,
        layers=residuals_layers,
        tokens=tokens_to_cache,
        version=VERSIONS["residuals"],
    log:
        "logs/residuals/model={model}/pass={number}.log",
    benchmark:
        "results/benchmarks/residuals/model={model}/pass={number}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    message:
        "residuals of {wildcards.model}, pass {wildcards.number}, to train SAEs on"
    script:
        "../scripts/residuals.py"


def sae_residuals(wildcards):
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer, wildcards.width)
    return grid.RESIDUALS.format(model=wildcards.model, number=number)


def sae_recipe(wildcards):
    kept = {key: value for key, value in recipe(wildcards.model)["train"].items() if key not in ("texts", "tokens")}
    return kept


def sae_width(wildcards):
    return grid.parse_width(wildcards.width)


rule train_sae:
    input:
        sae_residuals,
    output:
        sae=directory(grid.SAE + "/saelens"),
        quality=grid.SAE + "/quality.parquet",
    params:
        recipe=sae_recipe,
        width=sae_width,
        seed=SEED,
        version=VERSIONS["train_sae"],
    log:
        "logs/train_sae/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/train_sae/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: training"
    script:
        "../scripts/train_sae.py"


def sae_folder(wildcards):
    source = recipe(wildcards.model)
    if "train" in source:
        return grid.SAE.format(**wildcards) + "/saelens"
    return resolve(source["path"].format(layer=wildcards.layer, width=wildcards.width))


rule prepare_sae:
    input:
        sae_folder,
    output:
        grid.SAE + "/encoder.safetensors",
    params:
        layer=lambda wildcards: int(wildcards.layer),
        width=sae_width,
        version=VERSIONS["prepare_sae"],
    log:
        "logs/prepare_sae/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/prepare_sae/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    message:
        "SAE of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width}: encoder"
    script:
        "../scripts/prepare_sae.py"
