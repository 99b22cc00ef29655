"""Interventions: steer a model along directions that a probe found, erase a label; what that does, and what it harms.

Per scenario and direction (or eraser) a job finds it, one runs the model, one measures; in between another model, or a
judge, reads what was written.
"""


rule find_directions:
    input:
        examples=of(interventions.examples),
        features=of(interventions.features),
        cells=of(interventions.cells),
        shards=of(interventions.shards),
        decoder=of(interventions.decoder),
    output:
        directions=paths.DIRECTIONS.replace("{part}", "directions"),
        tells=paths.DIRECTIONS.replace("{part}", "tells"),
    log:
        "logs/find_directions/scenario={scenario}/direction={direction}.log",
    benchmark:
        "results/benchmarks/find_directions/scenario={scenario}/direction={direction}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        place=of(interventions.place),
        key=of(interventions.key),
        asked=of(interventions.asked, names=["class", "k", "draws"]),
        settings=PROBE,
        version=VERSIONS["directions"],
    message:
        "direction {wildcards.direction} of {wildcards.scenario}"
    script:
        "../scripts/find_directions.py"


rule steer:
    input:
        examples=of(interventions.examples),
        directions=paths.DIRECTIONS.replace("{part}", "directions"),
        encoder=of(interventions.encoder),
        decoder=of(interventions.decoder),
        neutral=of(interventions.neutral_texts),
        answered=of(interventions.answered_examples),
        continued=of(interventions.continued),
        weights=of(interventions.weights),
        folder=of(interventions.folder),
    output:
        directory(paths.STEERED),
    log:
        "logs/steer/scenario={scenario}/direction={direction}.log",
    benchmark:
        "results/benchmarks/steer/scenario={scenario}/direction={direction}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(720),
    params:
        model=of(interventions.identity),
        stored=of(interventions.stored),
        place=of(interventions.place),
        key=of(interventions.key),
        asked=of(interventions.asked, names=["alphas", "tokens", "prompts"]),
        answered=of(interventions.answered),
        prompts=of(interventions.answered_prompts),
        read_layer=of(interventions.read_layer),
        seed=STUDY.seed,
        version=VERSIONS["steered"],
    message:
        "{wildcards.scenario}: steered along {wildcards.direction}"
    script:
        "../scripts/steer.py"


rule read_written:
    input:
        steered=paths.STEERED,
        saes=of(interventions.reader_saes),
        weights=of(interventions.reader_weights),
        folder=of(interventions.reader_folder),
    output:
        states=directory(paths.WRITTEN),
        texts=paths.WRITTEN_TEXTS,
    log:
        "logs/read_written/scenario={scenario}/direction={direction}.log",
    benchmark:
        "results/benchmarks/read_written/scenario={scenario}/direction={direction}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        model=of(interventions.reader_identity),
        stored=of(interventions.reader_stored),
        layer=of(interventions.reading_layer),
        version=VERSIONS["written"],
    message:
        "{wildcards.scenario}: what was written along {wildcards.direction} is read"
    script:
        "../scripts/read_written.py"


rule judge_written:
    input:
        steered=paths.STEERED,
    output:
        paths.JUDGED,
    log:
        "logs/judge_written/scenario={scenario}/direction={direction}.log",
    benchmark:
        "results/benchmarks/judge_written/scenario={scenario}/direction={direction}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(720),
    params:
        judge=of(interventions.judge),
        version=VERSIONS["judged"],
    message:
        "{wildcards.scenario}: what was written along {wildcards.direction} is judged"
    script:
        "../scripts/judge_written.py"


rule measure_steering:
    input:
        examples=of(interventions.labelled_examples),
        shards=of(interventions.reader_shards),
        answered=of(interventions.answered_examples),
        steered=paths.STEERED,
        written=of(interventions.written),
        judged=of(interventions.judged),
    output:
        values=paths.STEERING.replace("{part}", "values"),
        texts=paths.STEERING.replace("{part}", "texts"),
    log:
        "logs/measure_steering/scenario={scenario}/direction={direction}.log",
    benchmark:
        "results/benchmarks/measure_steering/scenario={scenario}/direction={direction}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        key=of(interventions.key),
        asked=of(interventions.asked, names=["class", "answers"]),
        layer=of(interventions.reading_layer),
        settings=PROBE,
        version=VERSIONS["steering"],
    message:
        "{wildcards.scenario}: what steering along {wildcards.direction} changed"
    script:
        "../scripts/measure_steering.py"


rule find_eraser:
    input:
        examples=of(interventions.examples),
        features=of(interventions.features),
        cells=of(interventions.cells),
        shards=of(interventions.shards),
        decoder=of(interventions.decoder),
    output:
        paths.ERASERS,
    log:
        "logs/find_eraser/scenario={scenario}/eraser={eraser}.log",
    benchmark:
        "results/benchmarks/find_eraser/scenario={scenario}/eraser={eraser}.tsv"
    group:
        "cells"
    conda:
        "../../envs/exports.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        place=of(interventions.place),
        key=of(interventions.key),
        asked=of(interventions.asked, names=["class", "k", "draws"]),
        settings=PROBE,
        version=VERSIONS["directions"],
    message:
        "eraser {wildcards.eraser} of {wildcards.scenario}"
    script:
        "../scripts/find_eraser.py"


rule erase:
    input:
        examples=of(interventions.labelled_examples),
        erasers=paths.ERASERS,
        encoder=of(interventions.encoder),
        decoder=of(interventions.decoder),
        neutral=of(interventions.neutral_texts),
        answered=of(interventions.answered_examples),
        weights=of(interventions.weights),
        folder=of(interventions.folder),
    output:
        directory(paths.ERASED),
    log:
        "logs/erase/scenario={scenario}/eraser={eraser}.log",
    benchmark:
        "results/benchmarks/erase/scenario={scenario}/eraser={eraser}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(720),
    params:
        model=of(interventions.identity),
        stored=of(interventions.stored),
        place=of(interventions.place),
        answered=of(interventions.answered),
        prompts=of(interventions.answered_prompts),
        seed=STUDY.seed,
        version=VERSIONS["erased"],
    message:
        "{wildcards.scenario}: {wildcards.eraser} erased"
    script:
        "../scripts/erase.py"


rule measure_erasure:
    input:
        examples=of(interventions.labelled_examples),
        answered=of(interventions.answered_examples),
        erased=paths.ERASED,
        plain=of(interventions.plain),
        random=of(interventions.random),
    output:
        erasure=paths.ERASURE.replace("{part}", "erasure"),
        claims=paths.ERASURE.replace("{part}", "claims"),
    log:
        "logs/measure_erasure/scenario={scenario}/eraser={eraser}.log",
    benchmark:
        "results/benchmarks/measure_erasure/scenario={scenario}/eraser={eraser}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
    params:
        asked=of(interventions.asked, names=["answers"]),
        settings=PROBE,
        version=VERSIONS["steering"],
    message:
        "{wildcards.scenario}: what is left with {wildcards.eraser} erased"
    script:
        "../scripts/measure_erasure.py"


rule intervention_tables:
    input:
        tells=interventions.found(STUDY, "tells"),
        values=interventions.measured(STUDY, "values"),
        texts=interventions.measured(STUDY, "texts"),
        erasure=interventions.left(STUDY, "erasure"),
        erasure_claims=interventions.left(STUDY, "claims"),
        steered=interventions.every(STUDY, paths.STEERED),
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "intervention_tables"),
    log:
        "logs/intervention_tables.log",
    benchmark:
        "results/benchmarks/intervention_tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        scenarios=interventions.about(STUDY),
        seed=STUDY.seed,
        version=VERSIONS["tables"],
    message:
        "tables of interventions"
    script:
        "../scripts/intervention_tables.py"


rule interventions:
    input:
        list(results.outputs(STUDY, "intervention_tables").values()),
        results.figure_files(STUDY, "intervention_tables", "png"),
    localrule: True
