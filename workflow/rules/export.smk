"""What leaves a study: probes that stand alone. They are in no table of the study."""


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
        "../../envs/activations.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(20),
    params:
        origins=of(named.export_origins),
        shard_size=STUDY.shard_size,
        version=VERSIONS["exports"],
    message:
        "{wildcards.cell}: the probe as a folder"
    script:
        "../scripts/export.py"


rule export:
    input:
        named_by(named.exports, "cell"),
    localrule: True
