"""Tessera's library: what the rules compute, without the workflow engine.

Array names carry their shape: N tokens, E examples, D residual width, W latents, C classes, B resamples.
"""

from importlib import import_module
from os import PathLike

__version__ = "0.1.0"

# One constant per stage, recorded among the parameters of its rule: raise it when a stage comes to mean
# something else, and exactly that stage and what follows from it is computed anew.
VERSIONS = {
    "answers": 3,
    "examples": 4,
    "unpack": 1,
    "tune": 1,
    "weights": 1,
    "residuals": 4,
    "train_sae": 4,
    "prepare_sae": 2,
    "activations": 6,
    "embeddings": 1,
    "token_states": 1,
    "features": 2,
    "probes": 9,
    "regimes": 2,
    "shap": 1,
    "transfer": 5,
    "match": 3,
    "carry": 3,
    "compare": 1,
    "curves": 1,
    "exports": 1,
    "neuronpedia": 1,
    "evidence": 2,
    "writes": 1,
    "ablations": 2,
    "recovery": 1,
    "directions": 1,
    "steered": 1,
    "written": 1,
    "judged": 1,
    "steering": 1,
    "erased": 1,
    "tables": 8,
    "claims": 4,
    "figures": 7,
    "pages": 2,
    "explorer": 1,
}


def open(results: str | PathLike = "results"):  # to be said in full: tessera.open
    """A finished study: `study = tessera.open("results")`; see `tessera.notebook.study.OpenStudy`."""
    return import_module("tessera.notebook.study").OpenStudy(results)  # every job imports tessera, and none needs this


def load_probe(folder: str | PathLike, model: str | PathLike | None = None):
    """A probe that left its study, from its folder; see `tessera.exports.probe.ExportedProbe`.

    Args:
        model: a folder, a GGUF file or a hub id, where the model is not where the study found it.
    """
    return import_module("tessera.exports.probe").ExportedProbe(folder, model)
