"""Probes: a rule per kind of features; its job is one place (model × layer × width, where it has them) × data set.

Poolings, thresholds and selections, the cheap axes, share the start of a job.
"""

for name in cells.asked(STUDY):

    rule:
        name:
            f"probe_{name}"
        input:
            examples=paths.EXAMPLES,
            features=of(cells.inputs, name=name),
        output:
            cells.outputs(STUDY, name),
        log:
            f"logs/probe_{name}/{paths.keyed(*kind(name).place, 'data')}.log",
        benchmark:
            f"results/benchmarks/probe_{name}/{paths.keyed(*kind(name).place, 'data')}.tsv"
        group:
            "cells"
        conda:
            f"../../envs/{kind(name).environment}.yaml"
        resources:
            mem_mb=grows(4000),
            runtime=grows(60 * STUDY.repeats),
        params:
            kind=name,
            axes=kind(name).values(STUDY),
            settings=PROBE,
            repeats=of(data.repeats),
            version=VERSIONS["probes"],
        message:
            f"probes on {kind(name).title}: {{wildcards}}"
        script:
            "../scripts/probe.py"
