"""Tessera: which SAE features of which model, layer and width classify a labelled set, and do they transfer?"""

from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/study.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/matching.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    activations,
    scores,
    cell,
    figures,
    report,


rule all:
    default_target: True
    input:
        rules.scores.input,
        rules.figures.input,
