"""Results: the cells merged into tables, and the figures drawn from them."""


rule tables:
    input:
        **{f"{kind}_{part}": CELLS[part][kind] for part in PARTS for kind in CELLS[part]},
        **ORIGINS,
        qualities=QUALITIES,
    output:
        **{table: f"results/tables/{table}.parquet" for table in [*TABLES, "predictions", "coefficients"]},
        **{f"{table}_csv": f"results/tables/{table}.csv" for table in TABLES},
    log:
        "logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        controls=CONTROLS,
        published_l0=PUBLISHED_L0,
        datasets=list(DATASETS),
        version=VERSIONS["tables"],
    message:
        "tables"
    script:
        "../scripts/tables.py"


rule claims:
    input:
        **{
            table: f"results/tables/{table}.parquet"
            for table in [
                *(["transfer_best", "transfer_predictions"] if STUDY["transfers"] else []),
                *(["match_claims"] if STUDY["matches"] else []),
            ]
        },
        scores="results/tables/scores.parquet",
        predictions="results/tables/predictions.parquet",
    output:
        **{table: f"results/tables/{table}.parquet" for table in CLAIMS},
        **{f"{table}_csv": f"results/tables/{table}.csv" for table in CLAIMS},
    log:
        "logs/claims.log",
    benchmark:
        "results/benchmarks/claims.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        behaviour=BEHAVIOUR,
        controls=CONTROLS,
        resamples=STUDY["probe"]["resamples"],
        seed=STUDY["probe"]["seed"],
        version=VERSIONS["claims"],
    message:
        "claims"
    script:
        "../scripts/claims.py"


rule draw:
    input:
        scores="results/tables/scores.parquet",
        best="results/tables/best.parquet",
    output:
        pdf=expand("{figure}.pdf", figure=FIGURES),
        png=[shown(figure) for figure in FIGURES],
    log:
        "logs/draw.log",
    benchmark:
        "results/benchmarks/draw.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        models=list(DRAWN),
        version=VERSIONS["figures"],
    message:
        "figures"
    script:
        "../scripts/draw.py"


rule draw_claims:
    input:
        **{table: f"results/tables/{table}.parquet" for table in CLAIMS},
    output:
        pdf=expand("results/figures/{figure}.pdf", figure=CLAIMS if BEHAVIOUR else CLAIMS[:1]),
        png=[shown(f"results/figures/{figure}") for figure in (CLAIMS if BEHAVIOUR else CLAIMS[:1])],
    log:
        "logs/draw_claims.log",
    benchmark:
        "results/benchmarks/draw_claims.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        version=VERSIONS["figures"],
    message:
        "figures of claims"
    script:
        "../scripts/draw_claims.py"


rule pages:
    input:
        expand("results/tables/{table}.parquet", table=REPORTED),
    output:
        **{name: page(name) for name in ["study", "runtimes", *REPORTED]},
    log:
        "logs/pages.log",
    benchmark:
        "results/benchmarks/pages.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        study=config_sha256(STUDY),
        version=VERSIONS["pages"],
    message:
        "pages of the report"
    script:
        "../scripts/report_pages.py"


rule scores:
    input:
        *CELLS["scores"].values(),
        "results/tables/scores.csv",
        rules.claims.output,
        *TRANSFER_CELLS["scores"].values(),
        rules.transfer_tables.output if STUDY["transfers"] else [],
        rules.match_tables.output if STUDY["matches"] else [],


rule cell:
    input:
        wanted_cells,


rule figures:
    input:
        rules.draw.output,
        rules.draw_claims.output,
        [
            f"results/figures/scenario={scenario}/{figure}.{kind}"
            for scenario in STUDY["transfers"]
            for figure in transfer_figures(scenario)
            for kind in ("pdf", "png")
        ],
        expand(
            "results/figures/match={match}/{figure}.{kind}",
            match=STUDY["matches"],
            figure=MATCH_FIGURES,
            kind=["pdf", "png"],
        ),


rule report:
    input:
        rules.pages.output,
        rules.figures.input,
        rules.scores.input,
