# %% [markdown]
# # Read a finished study
#
# Cells as Jupyter (with jupytext), VS Code and PyCharm open them; `python notebooks/read_a_study.py` runs them all.
# The results are those of `RESULTS`, or the folder `results` here.

# %%
import os

import polars as pl
import tessera

study = tessera.open(os.environ.get("RESULTS", "results"))
print(study)

# %% [markdown]
# Every table is a frame. What to doubt goes first, then the claims.

# %%
print(study.warnings.select("warning", "where", "count", "of"))
print(study.claims.select("claim", "on", "difference", "difference_low", "difference_high", "verdict").head(10))

# %% [markdown]
# The best cell of each kind of features, chosen by cross-validation, with the interval of its score.

# %%
columns = ("data", "contestant", "macro_f1", "macro_f1_low", "macro_f1_high", "cells_searched")
print(study.best.filter(split="test").select(columns))

# %% [markdown]
# One cell: the best probe on latents. The table of predictions is large, so `study.predictions` is read when asked
# (`.collect()`); a cell has its own rows of it.

# %%
place = ("model", "layer", "width", "data", "pooling", "threshold", "selection")
best = study.cells.filter(features="sae", split="test").sort("cv_macro_f1", descending=True).row(0, named=True)
cell = study.cell("/".join(str(best[axis]) for axis in place))
print(cell, cell.scores.select("repeat", "split", "macro_f1", "C", "density"))
print(cell.predictions.group_by("label", "predicted").len().sort("label", "predicted"))

# %% [markdown]
# Against another cell of the same data set: in each metric, and where they differ.

# %%
other = next(name for name in study.cell_names if name.startswith("tfidf/") and f"/{cell.place['data']}/" in name)
print(cell.compare(other).select("repeat", "metric", "left", "right", "difference", "p", "verdict"))
print(cell.disagreements(other).select("repeat", "id", "label", "left_predicted", "right_predicted").head())

# %% [markdown]
# Its latents, where the study looked into this place (config key `evidence.places`).

# %%
if "shown_latents" in study.tables:
    axes = ("model", "layer", "width", "data")
    looked = study.shown_latents.select(axes).unique(maintain_order=True).row(0, named=True)
    names = ["/".join(["sae", *map(str, looked.values())]) + "/"]
    cell = study.cell(next(name for name in study.cell_names if name.startswith(names[0])))
    top = cell.latents.sort("rank_contribution_gap").filter(pl.col("rank_contribution_gap") <= 3)
    print(top.select("class", "latent", "roc_auc", "contribution_gap", "firing_texts", "firing_texts_others"))
    shown = study.shown_latents.filter(**looked)["latent"][0]
    print(cell.contexts(shown).select("latent", "stratum", "label", "tokens", pl.col("activation").list.max()))

# %% [markdown]
# A figure, as the report has it; a notebook shows what the cell returns.

# %%
study.figure("baselines")
