"""The workflow from the root of a checkout; it is in workflow/Snakefile, where the ecosystem looks for it."""


include: "workflow/Snakefile"


workflow.default_target = workflow.modifier.avail_rulename("all")  # which no included file sets
