"""Tessera's library: what the rules compute, without the workflow engine.

Array names carry their shape: N tokens, E examples, D residual width, W latents, C classes, B resamples.
"""

__version__ = "0.1.0"

# One constant per stage, recorded among the parameters of its rule: raise it when a stage comes to mean
# something else, and exactly that stage and what follows from it is computed anew.
VERSIONS = {
    "answers": 2,
    "examples": 3,
    "unpack": 1,
    "tune": 1,
    "weights": 1,
    "residuals": 3,
    "train_sae": 3,
    "prepare_sae": 2,
    "activations": 4,
    "features": 2,
    "probes": 4,
    "transfer": 3,
    "match": 1,
    "carry": 1,
    "tables": 5,
    "claims": 1,
    "figures": 3,
    "pages": 1,
}
