"""Evidence: the latents that carry a decision, where they fire, what they write, and what is lost without them.

Four jobs per place and data set read shards, features and cells; where a study asks for it (`evidence.in_model`), one
more per shard takes latents out of the model.
"""


rule weigh_latents:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
    output:
        **evidence.parts(STUDY, "weigh_latents"),
    log:
        "logs/weigh_latents/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/weigh_latents/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        ids=of(evidence.ids),
        latents=STUDY.evidence["latents"],
        version=VERSIONS["evidence"],
    message:
        "latents of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/weigh_latents.py"


rule read_contexts:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
        shown=paths.EVIDENCE.replace("{part}", "shown"),
        neutral=of(evidence.neutral_shards),
    output:
        **evidence.parts(STUDY, "read_contexts"),
    log:
        "logs/read_contexts/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/read_contexts/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        contexts=STUDY.evidence["contexts"],
        version=VERSIONS["evidence"],
    message:
        "contexts of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/read_contexts.py"


rule explain_decisions:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
    output:
        **evidence.parts(STUDY, "explain_decisions"),
    log:
        "logs/explain_decisions/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/explain_decisions/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        version=VERSIONS["evidence"],
    message:
        "decisions of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/explain_decisions.py"


rule draw_maps:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
    output:
        **evidence.parts(STUDY, "draw_maps"),
    log:
        "logs/draw_maps/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/draw_maps/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/numba.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        version=VERSIONS["evidence"],
    message:
        "maps of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/draw_maps.py"


rule suffice:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
        hidden=of(evidence.hidden_cells),
        seeds=of(evidence.seeds),
    output:
        **evidence.parts(STUDY, "suffice"),
    log:
        "logs/suffice/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/suffice/model={model}/layer={layer}/width={width}/data={data}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
    params:
        settings=PROBE,
        repeats=of(data.repeats),
        asked={key: STUDY.evidence[key] for key in ("k", "draws")},
        version=VERSIONS["evidence"],
    message:
        "few latents of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/suffice.py"


rule write_tokens:
    input:
        shown=of(evidence.shown),
        decoder=paths.DECODER,
        weights=of(models.weights),
        folder=of(models.folder),
        explanations=given(evidence.explanations),
    output:
        paths.WRITES,
    log:
        "logs/write_tokens/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/write_tokens/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(20),
    params:
        model=of(models.identity),
        version=VERSIONS["writes"],
    message:
        "what latents of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} write"
    script:
        "../scripts/write_tokens.py"


rule choose_sets:
    input:
        examples=paths.EXAMPLES,
        features=of(evidence.features),
        cells=of(evidence.cells),
        shards=of(cells.shards_of),
        decoder=paths.DECODER,
    output:
        paths.SETS,
    log:
        "logs/choose_sets/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/choose_sets/model={model}/layer={layer}/width={width}/data={data}.tsv"
    priority: 1  # the longest way to the end goes through it
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        asked={key: STUDY.evidence[key] for key in ("k", "draws")},
        version=VERSIONS["evidence"],
    message:
        "latents to take out of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/choose_sets.py"


rule ablate:
    input:
        examples=paths.EXAMPLES,
        others=of(evidence.other_texts),
        sets=paths.SETS,
        encoder=paths.ENCODER,
        decoder=paths.DECODER,
        weights=of(models.weights),
        folder=of(models.folder),
    output:
        directory(paths.ABLATIONS),
    log:
        "logs/ablate/model={model}/layer={layer}/width={width}/data={data}/shard={shard}.log",
    benchmark:
        "results/benchmarks/ablate/model={model}/layer={layer}/width={width}/data={data}/shard={shard}.tsv"
    priority: 1  # the longest way to the end goes through it
    conda:
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(720),
    params:
        model=of(models.identity),
        stored=of(models.stored),
        prompts=of(evidence.prompts),
        shard_size=STUDY.shard_size,
        shards=of(evidence.shard_count),
        seed=STUDY.seed,
        version=VERSIONS["ablations"],
    message:
        "{wildcards.model} without latents of layer {wildcards.layer}, width {wildcards.width} on {wildcards.data}"
    script:
        "../scripts/ablate.py"


rule need:
    input:
        examples=paths.EXAMPLES,
        sets=paths.SETS,
        ablations=of(evidence.ablations),
        decoder=paths.DECODER,
    output:
        **evidence.parts(STUDY, "need"),
    log:
        "logs/need/model={model}/layer={layer}/width={width}/data={data}.log",
    benchmark:
        "results/benchmarks/need/model={model}/layer={layer}/width={width}/data={data}.tsv"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        version=VERSIONS["evidence"],
    message:
        "probes of later layers of {wildcards.model} without latents of layer {wildcards.layer} on {wildcards.data}"
    script:
        "../scripts/need.py"


rule fire_abroad:
    input:
        shown=of(evidence.source_shown),
        examples=of(evidence.target_examples),
        shards=of(evidence.target_shards),
    output:
        paths.ABROAD,
    log:
        f"logs/fire_abroad/{paths.keyed('scenario', 'source', 'model', 'layer', 'width')}.log",
    benchmark:
        f"results/benchmarks/fire_abroad/{paths.keyed('scenario', 'source', 'model', 'layer', 'width')}.tsv"
    group:
        "cells"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=PROBE,
        version=VERSIONS["evidence"],
    message:
        "latents of {wildcards.source} in the targets of {wildcards.scenario}"
    script:
        "../scripts/fire_abroad.py"


rule evidence_tables:
    input:
        **{part: evidence.every(STUDY, part) for part in evidence.every_part()},
        writes=evidence.writes(STUDY),
        abroad=evidence.abroad(STUDY),
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "evidence_tables"),
    log:
        "logs/evidence_tables.log",
    benchmark:
        "results/benchmarks/evidence_tables.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        k=STUDY.evidence["k"],
        version=VERSIONS["tables"],
    message:
        "tables of evidence"
    script:
        "../scripts/evidence_tables.py"


rule recovery:
    input:
        truths=given(evidence.truths),
        decoders=of(evidence.known_decoders),
        latents=of(evidence.known_latents),
        provenance=results.parquet("provenance"),
    output:
        **results.outputs(STUDY, "recovery"),
    log:
        "logs/recovery.log",
    benchmark:
        "results/benchmarks/recovery.tsv"
    group:
        "results"
    conda:
        "../../envs/probes.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        models=list(STUDY.truths),
        drawn=results.drawn(STUDY),
        seed=STUDY.seed,
        version=VERSIONS["recovery"],
    message:
        "latents beside the directions that are known"
    script:
        "../scripts/recovery.py"


rule evidence:
    input:
        list(results.outputs(STUDY, "evidence_tables").values()),
        results.figure_files(STUDY, "evidence_tables", "png"),
    localrule: True
