"""Matching: latents of one SAE matched to another's on unlabelled texts, and the probes carried across the match."""


rule match:
    input:
        **{f"features_{side}": of(matches.text_features, side=side) for side in SIDES},
        **{f"shards_{side}": of(matches.text_shards, side=side) for side in SIDES},
        examples=of(matches.text_examples),
    output:
        **{part: paths.MATCH.replace("{part}", part) for part in matches.PARTS["match"]},
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
        sides=of(matches.sides),
        texts=of(matches.texts),
        same=of(matches.is_same),
        poolings=STUDY.grid["poolings"],
        seed=STUDY.seed,
        version=VERSIONS["match"],
    message:
        "{wildcards.match}: matching latents"
    script:
        "../scripts/match.py"


rule carry:
    input:
        **{f"features_{side}": of(matches.data_features, side=side) for side in SIDES},
        **{f"shards_{side}": of(matches.all_shards, side=side) for side in SIDES},
        **{f"cells_{side}": of(matches.probed, side=side) for side in SIDES},
        **{f"random_{side}": of(matches.random_features, side=side) for side in SIDES},
        examples=of(matches.all_examples),
        pairings=paths.MATCH.replace("{part}", "pairings"),
    output:
        **{part: paths.MATCH.replace("{part}", part) for part in matches.PARTS["carry"]},
    log:
        "logs/carry/match={match}.log",
    benchmark:
        "results/benchmarks/carry/match={match}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(720),
    params:
        sides=of(matches.sides),
        texts=of(matches.texts),
        data=of(matches.data),
        random=of(matches.random_saes),
        same=of(matches.is_same),
        cells=matches.cells(STUDY),
        hidden_poolings=STUDY.baselines["hidden"],
        settings=PROBE,
        version=VERSIONS["carry"],
    message:
        "{wildcards.match}: probes carried across"
    script:
        "../scripts/carry.py"


rule match_tables:
    input:
        **{part: matches.every_part(STUDY, part) for parts in matches.PARTS.values() for part in parts},
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "match_tables"),
    log:
        "logs/match_tables.log",
    benchmark:
        "results/benchmarks/match_tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        matches=STUDY.matches,
        version=VERSIONS["tables"],
    message:
        "tables of matches"
    script:
        "../scripts/match_tables.py"
