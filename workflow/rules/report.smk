"""Results: the cells merged into tables, as the catalogue has them; figures drawn from tables, and pages of the report."""


rule study:
    output:
        paths.STUDY,
    log:
        "logs/study.log",
    benchmark:
        "results/benchmarks/study.tsv"
    localrule: True
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(20),
    params:
        config=STUDY.config,
    message:
        "the config, every default filled in"
    script:
        "../scripts/study.py"


rule provenance:
    input:
        summaries=of(cells.every_shard, pattern=paths.SUMMARY),
        embeddings=of(cells.every_input, name="embeddings"),
        examples=data.examples(STUDY),
    output:
        **results.outputs(STUDY, "provenance"),
    log:
        "logs/provenance.log",
    benchmark:
        "results/benchmarks/provenance.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        version=VERSIONS["tables"],
    message:
        "where the results come from"
    script:
        "../scripts/provenance.py"


rule tables:
    input:
        **{part: of(cells.every_cell, part=part) for part in ("scores", "predictions")},
        coefficients=of(cells.with_latents, part="coefficients"),
        summaries=of(cells.every_shard, pattern=paths.SUMMARY),
        embeddings=of(cells.every_input, name="embeddings"),
        examples=data.examples(STUDY),
        qualities=saes.qualities(STUDY),
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "tables"),
    log:
        "logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        controls=STUDY.controls,
        frozen=results.frozen(STUDY),
        drawn=results.drawn(STUDY),
        published_l0=saes.published_l0(STUDY),
        datasets=list(STUDY.datasets),
        version=VERSIONS["tables"],
    message:
        "tables"
    script:
        "../scripts/tables.py"


rule claims:
    input:
        **{table: results.parquet(table) for table in results.claimed(STUDY)},
    output:
        **results.outputs(STUDY, "claims"),
    log:
        "logs/claims.log",
    benchmark:
        "results/benchmarks/claims.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        behaviour=STUDY.behaviours,
        controls=STUDY.controls,
        datasets=list(STUDY.datasets),
        identified=results.identified(STUDY),
        primary=STUDY.claims["primary"],
        version=VERSIONS["claims"],
    message:
        "claims"
    script:
        "../scripts/claims.py"


for stage in results.figured(STUDY):

    rule:
        name:
            f"draw_{stage}"
        input:
            results.tables_drawn(STUDY, stage),
        output:
            pdf=results.figure_files(STUDY, stage, "pdf"),
            png=[
                report(
                    file,
                    caption=f"../report/{caption}.rst",
                    category="Figures",
                    labels=labels,
                )
                for file, caption, labels in results.captions(STUDY, stage)
            ],
        log:
            f"logs/draw_{stage}.log",
        benchmark:
            f"results/benchmarks/draw_{stage}.tsv"
        group:
            "results"
        conda:
            "../../envs/probes.yaml"
        resources:
            mem_mb=grows(2000),
            runtime=grows(20),
        params:
            figures=results.asked_figures(STUDY, stage),
            version=VERSIONS["figures"],
        message:
            f"figures of {stage}"
        script:
            "../scripts/draw.py"


rule explorer:
    input:
        tables=[file for file in results.every_table(STUDY) if file.endswith(".parquet")],
        examples=data.examples(STUDY),
    output:
        page=paths.EXPLORER,
        pieces=directory(paths.PIECES),
    log:
        "logs/explorer.log",
    benchmark:
        "results/benchmarks/explorer.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        study=config_sha256(STUDY.config),
        version=VERSIONS["explorer"],
    message:
        "the explorer: a page to look at"
    script:
        "../scripts/explorer.py"


rule home:
    input:
        claims=results.parquet("claims"),
        figure=results.main_figure(STUDY),
    output:
        paths.HOME,
    log:
        "logs/home.log",
    benchmark:
        "results/benchmarks/home.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        study=config_sha256(STUDY.config),
        version=VERSIONS["pages"],
    message:
        "the first page of the report"
    script:
        "../scripts/home.py"


rule pages:
    input:
        **{table: results.parquet(table) for table in ("cells", "provenance")},
        tables=[results.parquet(table) for table in results.pages(STUDY)],
    output:
        **{
            page: report(
                file,
                caption="../report/page.rst",
                category=category,
                labels={"page": page.replace("_", " ")},
            )
            for page, file, category in results.every_page(STUDY)
        },
    log:
        "logs/pages.log",
    benchmark:
        "results/benchmarks/pages.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        study=config_sha256(STUDY.config),
        version=VERSIONS["pages"],
    message:
        "pages of the report"
    script:
        "../scripts/pages.py"


rule scores:
    input:
        of(cells.every_cell, part="scores"),
        of(transfers.every_cell, part="scores"),
        of(regimes.every_job, part="scores"),
        of(interventions.measured, part="values"),
        of(interventions.left, part="erasure"),
        results.every_table(STUDY),
        rules.study.output,
    localrule: True


rule cell:
    input:
        of(cells.named_cells, wanted=ASKED["cell"]),
    localrule: True


rule figures:
    input:
        results.every_figure(STUDY),
    localrule: True


rule report:
    input:
        rules.home.output,
        rules.pages.output,
        rules.figures.input,
        rules.scores.input,
        rules.explorer.output,
    localrule: True
