"""Which columns tell most to the trees of a data set, by their SHAP values."""

from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.evidence.shapley import explain_trees

with script(snakemake) as log:
    features = dict(snakemake.input.items())
    examples, scores = (features.pop(name) for name in ("examples", "scores"))
    found = explain_trees(examples, scores, features, snakemake.params.settings)
    log.info("%s", found.filter(rank_shap=1).to_dicts())
    write_parquet(snakemake.output[0], found)
