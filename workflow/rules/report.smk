"""Results: the cells merged into tables, and the figures drawn from them."""

SUMMARIES = [
    grid.SUMMARY.format(model=model, data=data, number=number, shard=shard)
    for model, spec in MODELS.items()
    for data in DATASETS
    for number in range(len(spec["passes"]))
    for shard in shards(data)
]
QUALITIES = [grid.SAE.format(**cell) + "/quality.parquet" for cell in SAE_CELLS if "train" in recipe(cell["model"])]
TABLES = ["scores", "best", "comparisons", "classes", "saes", "datasets"]
DRAWN = [model for model, spec in MODELS.items() if "control_of" not in spec]
FIGURES = (
    ["results/figures/baselines"]
    + expand("results/figures/model={model}/layer_width", model=DRAWN)
    + expand("results/figures/model={model}/pooling_threshold", model=[m for m in DRAWN if "saes" in MODELS[m]])
)


rule tables:
    input:
        sae=SAE_SCORES,
        hidden=HIDDEN_SCORES,
        tfidf=TFIDF_SCORES,
        summaries=SUMMARIES,
        qualities=QUALITIES,
        examples=expand(grid.EXAMPLES, data=DATASETS),
    output:
        **{table: f"results/tables/{table}.parquet" for table in [*TABLES, "predictions", "coefficients"]},
        **{f"{table}_csv": f"results/tables/{table}.csv" for table in TABLES},
    params:
        controls={model: spec["control_of"] for model, spec in MODELS.items() if "control_of" in spec},
        datasets=list(DATASETS),
        resamples=STUDY["probe"]["resamples"],
        seed=SEED,
        version=VERSIONS["tables"],
    log:
        "logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    message:
        "tables"
    script:
        "../scripts/tables.py"


rule draw:
    input:
        scores="results/tables/scores.parquet",
        best="results/tables/best.parquet",
    output:
        pdf=expand("{figure}.pdf", figure=FIGURES),
        png=expand("{figure}.png", figure=FIGURES),
    params:
        models=DRAWN,
        version=VERSIONS["figures"],
    log:
        "logs/draw.log",
    benchmark:
        "results/benchmarks/draw.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    message:
        "figures"
    script:
        "../scripts/draw.py"


rule scores:
    input:
        SAE_SCORES,
        HIDDEN_SCORES,
        TFIDF_SCORES,
        "results/tables/scores.csv",


rule figures:
    input:
        rules.draw.output,
