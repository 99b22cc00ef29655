"""Probes: a rule per kind of features and of probe; its job is one place (model × layer × width, where it has them) × data set.

Poolings, thresholds and selections, the cheap axes, share the start of a job.
"""

for name, probe in cells.fits(STUDY):

    rule:
        name:
            cells.rule(name, probe)
        input:
            examples=paths.EXAMPLES,
            features=of(cells.inputs, name=name),
        output:
            cells.outputs(STUDY, name, probe),
        log:
            f"logs/{cells.rule(name, probe)}/{paths.keyed(*kind(name).place, 'data')}.log",
        benchmark:
            f"results/benchmarks/{cells.rule(name, probe)}/{paths.keyed(*kind(name).place, 'data')}.tsv"
        group:
            cells.group(STUDY, probe)
        conda:
            f"../../envs/{cells.environment(STUDY, name, probe)}.yaml"
        resources:
            **cells.gpu(STUDY, probe),
            mem_mb=grows(probe_kind(probe).memory),
            runtime=grows(probe_kind(probe).minutes * STUDY.repeats),
        params:
            kind=name,
            probe=probe,
            axes=kind(name).values(STUDY),
            settings=PROBE,
            device=cells.device(STUDY, probe),
            repeats=of(data.repeats),
            version=VERSIONS["probes"],
        message:
            f"{probe_kind(probe).title} on {kind(name).title}: {{wildcards}}"
        script:
            "../scripts/probe.py"
