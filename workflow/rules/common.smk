"""The study: its config, checked before anything runs, and what the rules ask of it."""

import sys
from functools import cache
from pathlib import Path

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from tessera import VERSIONS, grid
from tessera.config import architecture, load, resolve
from tessera.data import count_examples
from tessera.errors import TesseraError

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config" / "config.yaml")


try:
    STUDY = load(config)
    if workflow.is_main_process:
        EXAMPLES = {name: count_examples(name, STUDY) for name in STUDY["datasets"]}
except TesseraError as error:
    raise WorkflowError(str(error)) from None

MODELS, DATASETS, SEED = STUDY["models"], STUDY["datasets"], STUDY["seed"]
POOLINGS, THRESHOLDS = STUDY["grid"]["poolings"], STUDY["grid"]["thresholds"]
HIDDEN_POOLINGS, TFIDF_UNITS = STUDY["baselines"]["hidden"], STUDY["baselines"]["tfidf"]
SAE_CELLS = list(grid.sae_cells(MODELS))
LAYER_CELLS = list(grid.layer_cells(MODELS))


wildcard_constraints:
    model=r"[A-Za-z0-9][\w.-]*",
    data=r"[A-Za-z0-9][\w.-]*",
    number=r"\d+",
    shard=r"\d+",
    layer=r"\d+",
    width=r"\w+",
    pooling=r"[a-z0-9]+",


def model_identity(model):
    """What of a model decides its activations, by value."""
    spec = MODELS[model]
    kept = {key: value for key, value in spec.items() if key not in ("passes", "saes")}
    return {"spec": kept, "source": architecture(kept, STUDY), "seed": SEED}


def model_files(model):
    """The files of a model folder of the user's own, so that a change of them is noticed."""
    source = architecture(MODELS[model], STUDY)
    if source.get("path", "package:").startswith("package:"):
        return []
    folder = Path(source["path"])
    return sorted(str(file) for pattern in ("*.json", "*.safetensors") for file in folder.glob(pattern))


def data_files(data):
    """The local files of a data set (pinned packages apart)."""
    paths = [part["path"] for part in (DATASETS[data], *DATASETS[data].get("shifts", {}).values()) if "path" in part]
    return [path for path in paths if not path.startswith("package:")]


@cache
def shards(data):
    """The shard numbers of a data set: ranges of shard_size examples."""
    return range(-(-count_examples(data, STUDY) // STUDY["shard_size"]))


def recipe(model):
    """The entry of saes that a model's SAEs come from."""
    return STUDY["saes"][MODELS[model]["saes"]]


def probe_settings():
    """What every probe shares, by value."""
    return {"seed": SEED, **STUDY["probe"]}


def cell_files(pattern, cells, **axes):
    """Scores files of every cell: `pattern` filled from `cells` × data sets × `axes`."""
    filled = [expand(pattern + "/scores.parquet", **cell, data=DATASETS, **axes) for cell in cells]
    return [file for files in filled for file in files]


SAE_SCORES = cell_files(grid.PROBE, SAE_CELLS, pooling=POOLINGS, threshold=THRESHOLDS)
HIDDEN_SCORES = cell_files(grid.HIDDEN, LAYER_CELLS, pooling=HIDDEN_POOLINGS)
TFIDF_SCORES = cell_files(grid.TFIDF, [{}], unit=TFIDF_UNITS)
