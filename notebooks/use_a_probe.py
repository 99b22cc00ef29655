# %% [markdown]
# # Use a finished study's best probe on new texts
#
# Cells as Jupyter (with jupytext), VS Code and PyCharm open them; `python notebooks/use_a_probe.py` runs them all.
# The results are those of `RESULTS`, or the folder `results` here. The model must be where the config says, else give
# its folder or hub id: `predict(texts, model=...)`.

# %%
import os
from pathlib import Path

import tessera

results = Path(os.environ.get("RESULTS", "results"))
study = tessera.open(results)

# %% [markdown]
# The probe on latents that is best by cross-validation, never by its score on the test split.

# %%
place = ("model", "layer", "width", "data", "pooling", "threshold", "selection")
cells = study.cells.filter(~study.cells["control"], features="sae", split="test")
best = cells.sort("cv_macro_f1", descending=True).row(0, named=True)
cell = study.cell("/".join(str(best[axis]) for axis in place))
print(cell, cell.classes, f"macro F1 {best['macro_f1']:.2f} [{best['macro_f1_low']:.2f}, {best['macro_f1_high']:.2f}]")

# %% [markdown]
# New texts: what the workflow would tell of a data set of them.

# %%
texts = ["the river and the moon", "you will not believe what rain did to this red house"]
print(cell.predict(texts))

# %% [markdown]
# A probe that left the study (`snakemake export`) is a folder that needs the model and nothing else.

# %%
for folder in sorted(results.glob("exports/cell=*")):
    probe = tessera.load_probe(folder)
    print(probe, probe.predict(texts), probe.card.partition("## Data and scores")[0], sep="\n")
