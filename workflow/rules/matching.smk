"""Matching: latents of one SAE matched to another's on unlabelled texts, and the probes carried across the match."""


rule match:
    input:
        **{f"features_{side}": features_to_match(side) for side in SIDES},
        **{f"shards_{side}": shards_to_match(side, match_texts) for side in SIDES},
        examples=lambda wildcards: expand(grid.EXAMPLES, data=match_texts(wildcards)),
    output:
        **{part: grid.MATCH.format(match="{match}", part=part) for part in ("maps", "matches", "histograms")},
    log:
        "logs/match/match={match}.log",
    benchmark:
        "results/benchmarks/match/match={match}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        sides=match_sides,
        texts=match_texts,
        same=is_same_sae,
        poolings=POOLINGS,
        seed=SEED,
        version=VERSIONS["match"],
    message:
        "{wildcards.match}: matching latents"
    script:
        "../scripts/match.py"


rule carry:
    input:
        **{f"features_{side}": of_side(side, grid.FEATURES, match_data, pooling=POOLINGS) for side in SIDES},
        **{f"shards_{side}": shards_to_match(side, match_all) for side in SIDES},
        **{
            f"probes_{side}": of_side(
                side,
                grid.PROBE,
                match_data,
                pooling=POOLINGS,
                threshold=THRESHOLDS,
                selection=SELECTIONS,
                part=["scores", "coefficients"],
            )
            for side in SIDES
        },
        **{
            f"linear_{side}": of_side(
                side, grid.HIDDEN, match_data, pooling=HIDDEN_POOLINGS, part=["scores", "coefficients"]
            )
            for side in SIDES
        },
        examples=lambda wildcards: expand(grid.EXAMPLES, data=match_all(wildcards)),
        maps=grid.MATCH.format(match="{match}", part="maps"),
    output:
        **{part: grid.MATCH.format(match="{match}", part=part) for part in ("scores", "predictions", "claims")},
    log:
        "logs/carry/match={match}.log",
    benchmark:
        "results/benchmarks/carry/match={match}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        sides=match_sides,
        texts=match_texts,
        data=match_data,
        all=match_all,
        poolings=POOLINGS,
        thresholds=THRESHOLDS,
        selections=SELECTIONS,
        hidden_poolings=HIDDEN_POOLINGS,
        settings={"seed": SEED, **STUDY["probe"]},
        version=VERSIONS["carry"],
    message:
        "{wildcards.match}: probes carried across"
    script:
        "../scripts/carry.py"


MATCH_PARTS = ["maps", "matches", "histograms", "scores", "predictions", "claims"]
MATCH_TABLES = ["matches", "match_best", "match_scores", "match_claims"]
MATCH_FIGURES = ["correlations", "scores"]
MATCH_FRAMES = [*MATCH_TABLES, "matched_latents", "match_histograms", "match_predictions"]


rule match_tables:
    input:
        **{part: expand(grid.MATCH, match=STUDY["matches"], part=part) for part in MATCH_PARTS},
        provenance="results/tables/provenance.parquet",
    output:
        **{table: f"results/tables/{table}.parquet" for table in MATCH_FRAMES},
        **{f"{table}_csv": f"results/tables/{table}.csv" for table in MATCH_TABLES},
    log:
        "logs/match_tables.log",
    benchmark:
        "results/benchmarks/match_tables.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        matches=STUDY["matches"],
        version=VERSIONS["tables"],
    message:
        "tables of matches"
    script:
        "../scripts/match_tables.py"


rule draw_match:
    input:
        correlations="results/tables/match_histograms.parquet",  # figure by figure, in the order of MATCH_FIGURES
        scores="results/tables/match_best.parquet",
    output:
        pdf=expand("results/figures/match={{match}}/{figure}.pdf", figure=MATCH_FIGURES),
        png=[shown(f"results/figures/match={{match}}/{figure}", caption="match") for figure in MATCH_FIGURES],
    log:
        "logs/draw_match/match={match}.log",
    benchmark:
        "results/benchmarks/draw_match/match={match}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(20),
    params:
        version=VERSIONS["figures"],
    message:
        "figures of {wildcards.match}"
    script:
        "../scripts/draw_match.py"
