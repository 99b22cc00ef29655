"""What leaves a study: probes that stand alone, latents for Neuronpedia. No table of the study waits for them."""


rule export_probe:
    input:
        cells=of(named.export_cells),
        examples=of(named.export_examples),
        encoders=of(named.export_encoders),
        weights=of(named.export_weights),
        folders=of(named.export_folders),
        trained=of(named.export_trained),
        files=given(named.export_files),
        tables=results.told(STUDY),
    output:
        directory(paths.EXPORT),
    log:
        "logs/export_probe/cell={cell}.log",
    benchmark:
        "results/benchmarks/export_probe/cell={cell}.tsv"
    wildcard_constraints:
        cell="[^/=]+",
    conda:
        "../../envs/exports.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(20),
    params:
        origins=of(named.export_origins),
        version=VERSIONS["exports"],
    message:
        "{wildcards.cell}: the probe as a folder"
    script:
        "../scripts/export.py"


rule export:
    input:
        named_by(named.exports, "cell"),
    localrule: True


rule write_neuronpedia:
    input:
        contexts=of(evidence.looked_contexts),
        shards=of(evidence.looked_shards),
        decoder=paths.DECODER,
        writes=paths.WRITES,
    output:
        directory(paths.NEURONPEDIA),
    log:
        "logs/write_neuronpedia/model={model}/layer={layer}/width={width}.log",
    benchmark:
        "results/benchmarks/write_neuronpedia/model={model}/layer={layer}/width={width}.tsv"
    conda:
        "../../envs/exports.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        release=of(saes.release),
        version=VERSIONS["neuronpedia"],
    message:
        "latents of {wildcards.model}, layer {wildcards.layer}, width {wildcards.width} for Neuronpedia"
    script:
        "../scripts/neuronpedia.py"


rule neuronpedia:
    input:
        named_by(evidence.neuronpedia),
    localrule: True
