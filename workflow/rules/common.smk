"""The study: its config, checked before anything runs, and what the rules ask of it."""

import os
import sys
from functools import cache
from pathlib import Path

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from snakemake.logging import logger
from tessera import VERSIONS, grid, kinds, progress, releases
from tessera.config import architecture, config_sha256, load, sae_folder
from tessera.data import count_examples
from tessera.errors import TesseraError
from tessera.io import check_writable
from tessera.pairs import sae_entry, sae_owner

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config" / "config.yaml")


@cache
def shards(data):
    """The shard numbers of a data set: ranges of shard_size examples."""
    return range(-(-count_examples(data, STUDY) // STUDY["shard_size"]))


WANTED = str(config.pop("cell", None) or "")  # of the target `cell`; no part of a study

try:
    STUDY = load(config)
    if workflow.is_main_process:
        for name in STUDY["datasets"]:
            shards(name)  # reads and checks every row
        if STUDY["transfers"]:
            from tessera.transfer import check_scenarios  # imports scikit-learn

            check_scenarios(STUDY)
except TesseraError as error:
    sys.exit(f"error: {error}")

os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars of libraries among the lines below
SHOWN = workflow.output_settings
if workflow.is_main_process and not (SHOWN.dryrun or SHOWN.quiet or SHOWN.verbose):
    progress.attach(logger)


onstart:  # of a run, not of a dry run
    try:
        check_writable(Path("results"))
    except TesseraError as error:
        sys.exit(f"error: {error}")


MODELS, DATASETS, SEED = STUDY["models"], STUDY["datasets"], STUDY["seed"]
POOLINGS, THRESHOLDS = STUDY["grid"]["poolings"], STUDY["grid"]["thresholds"]
SELECTIONS = STUDY["grid"]["selections"]
PARTS = ["scores", "predictions", "coefficients"]
HIDDEN_POOLINGS = STUDY["baselines"]["hidden"]
TFIDF_UNITS, PIXEL_UNITS = STUDY["baselines"]["tfidf"], STUDY["baselines"]["pixels"]
WITH_LENGTH = STUDY["baselines"]["length"]
SAE_CELLS = list(grid.sae_cells(MODELS))
LAYER_CELLS = list(grid.layer_cells(MODELS))


wildcard_constraints:
    model=r"[A-Za-z0-9][\w.-]*",
    data=r"[A-Za-z0-9][\w.-]*",
    number=r"\d+",
    shard=r"\d+",
    layer=r"\d+",
    width=r"[1-9]\d*[km]?(_[A-Za-z0-9][\w.-]*)?",
    texts=r"[A-Za-z0-9][\w.-]*",
    match=r"[A-Za-z0-9][\w.-]*",
    scenario=r"[A-Za-z0-9][\w.-]*",
    source=r"[A-Za-z0-9][\w.-]*",
    pooling=r"[a-z0-9]+",


def grows(amount):
    """Memory (MB) or runtime (minutes) of a rule: as much again with every attempt that a profile's retries allow."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource


def model_identity(wildcards):
    """What of a model decides its activations, by value."""
    return identity_of(wildcards.model)


def identity_of(model):
    spec = MODELS[model]
    kept, source = (
        {key: value for key, value in entry.items() if key not in ("passes", "saes", "data")}
        for entry in (spec, architecture(spec, STUDY))
    )
    return {"spec": kept, "source": source, "seed": SEED}


def model_files(wildcards):
    """The folder of a tuned model, or the files of one of the user's own, so that a change of them is noticed."""
    return files_of(architecture(MODELS[wildcards.model], STUDY))


def files_of(source):
    path = source.get("path", "package:")
    if "tuned" in source:
        return path
    if path.startswith("package:"):
        return []
    kinds = {".json", ".safetensors", ".model", ".txt", ".jinja", ".tiktoken"}
    return sorted(str(file) for file in Path(path).iterdir() if file.suffix in kinds)


def tuning_recipe(wildcards):
    return {
        "seed": SEED,
        **{key: value for key, value in MODELS[wildcards.model]["tuned"].items() if key not in ("from", "config")},
    }


def tuning_base(wildcards):
    """Name and identity of the model that a tuned one is a copy of, or of the new one itself."""
    model = MODELS[wildcards.model]
    if "config" in model["tuned"]:
        about = {key: value for key, value in model.items() if key not in ("tuned", "path", "saes")}
        return {"name": wildcards.model, "spec": {**about, "config": model["tuned"]["config"], "passes": []}}
    name = model["tuned"]["from"]
    return {"name": name, "spec": {**MODELS[name], "passes": []}}


def tuning_examples(wildcards):
    return grid.EXAMPLES.format(data=MODELS[wildcards.model]["tuned"]["data"])


def tuning_files(wildcards):
    tuned = MODELS[wildcards.model]["tuned"]
    return files_of(MODELS[tuned["from"]]) if "from" in tuned else []


def raw_spec(wildcards):
    return DATASETS[wildcards.data]


def data_spec(wildcards):
    """A data set's entry; where a model makes the labels, that of the table with its answers."""
    spec = raw_spec(wildcards)
    if "answered" not in spec:
        return {key: value for key, value in spec.items() if key != "behaviour_of"}
    kept = {key: spec[key] for key in ("text", "group", "split") if key in spec}
    return {**kept, "path": grid.ANSWERS.format(**wildcards), "label": "answer", "id": "id"}


def answering_model(wildcards):
    name = raw_spec(wildcards)["answered"]["model"]
    return {"name": name, **identity_of(name)}


def answering_files(wildcards):
    return files_of(architecture(MODELS[raw_spec(wildcards)["answered"]["model"]], STUDY))


def data_files(wildcards):
    """The local files of a data set, or its table of answers."""
    return grid.ANSWERS.format(**wildcards) if "answered" in raw_spec(wildcards) else raw_files(wildcards)


def raw_files(wildcards):
    """The local files of a data set (those of pinned packages apart)."""
    spec = raw_spec(wildcards)
    paths = [part["path"] for part in (spec, *spec.get("shifts", {}).values()) if "path" in part]
    return [path for path in paths if not path.startswith("package:")]


def sae_source(model, width):
    """The entry of saes that an SAE of a model comes from; of a borrowed one, that of the model it is of."""
    owner, width = sae_owner(model, width, STUDY)
    return STUDY["saes"][sae_entry(MODELS[owner], width)]


def cached_texts(recipe):
    """Name of the first entry of saes that trains on the same texts: entries that do share one cache."""
    wanted = recipe["texts"], recipe["tokens"]
    return next(
        name
        for name, entry in STUDY["saes"].items()
        if "train" in entry and (entry["train"]["texts"], entry["train"]["tokens"]) == wanted
    )


def training_texts(wildcards):
    return expand(grid.EXAMPLES, data=STUDY["saes"][wildcards.texts]["train"]["texts"])


def tokens_to_cache(wildcards):
    return STUDY["saes"][wildcards.texts]["train"]["tokens"]


def hooks_to_cache(wildcards):
    """layer → hook of each layer of a pass that trains SAEs on these texts."""
    recipes = [(layer, sae_source(wildcards.model, width).get("train")) for layer, width in pass_cells(wildcards)]
    layers = {layer for layer, recipe in recipes if recipe and cached_texts(recipe) == wildcards.texts}
    return {layer: hook_of(wildcards.model) for layer in sorted(layers)}


def hook_of(model):
    return MODELS[model].get("hook", "resid_post")


def training_recipe(wildcards):
    recipe = sae_source(wildcards.model, wildcards.width)["train"]
    kept = {key: value for key, value in recipe.items() if key not in ("texts", "tokens")}
    return {"seed": SEED, **kept, "hook": hook_of(wildcards.model)}


def latents(wildcards):
    return grid.parse_width(wildcards.width)


def training_residuals(wildcards):
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer, wildcards.width)
    texts = cached_texts(sae_source(wildcards.model, wildcards.width)["train"])
    return grid.RESIDUALS.format(model=wildcards.model, number=number, texts=texts)


def sae_files(wildcards):
    """What SAELens saved: the folder trained here, or the user's own files; none for a published SAE."""
    source = sae_source(wildcards.model, wildcards.width)
    if "release" in source:
        return []
    if "train" in source:
        return trained_folder(wildcards)
    folder = sae_folder(source, wildcards.layer, wildcards.width)
    return [str(folder / name) for name in ("cfg.json", "sae_weights.safetensors")]


def trained_folder(wildcards):
    owner, width = sae_owner(wildcards.model, wildcards.width, STUDY)
    return grid.TRAINED.format(model=owner, layer=wildcards.layer, width=width)


def trained_architecture(wildcards):
    return sae_source(wildcards.model, wildcards.width)["train"]["architecture"]


def sae_release(wildcards):
    """Release and id of a published SAE, or None."""
    source = sae_source(wildcards.model, wildcards.width)
    if "release" not in source:
        return None
    return [source["release"], releases.find(source, wildcards.layer, grid.split_width(wildcards.width)[0])[0]]


def trained_on(wildcards):
    """What the SAE's metadata must name as its model; None where the model is a folder, which has no name."""
    owner, _ = sae_owner(wildcards.model, wildcards.width, STUDY)
    named = architecture(MODELS[owner], STUDY).get("hub")
    return sae_source(wildcards.model, wildcards.width).get("trained_on", named)


def asked_device(wildcards):
    return MODELS[wildcards.model]["device"]


def asked_hook(wildcards):
    return MODELS[wildcards.model].get("hook")


def pass_cells(wildcards):
    """(layer, width) of each SAE of one pass of one model."""
    wanted = wildcards.model, int(wildcards.number)
    return [[int(c["layer"]), c["width"]] for c in SAE_CELLS if (c["model"], c["number"]) == wanted]


def pass_encoders(wildcards):
    """The prepared SAEs of a pass, in the order of pass_cells."""
    return [
        grid.ENCODER.format(model=wildcards.model, layer=layer, width=width) for layer, width in pass_cells(wildcards)
    ]


def pass_layers(wildcards):
    return sorted(int(layer) for layer in MODELS[wildcards.model]["passes"][int(wildcards.number)])


def shards_of_width(wildcards):
    """The activations that hold a layer and width of a model on a data set."""
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer, wildcards.width)
    return expand(grid.ACTIVATIONS, **wildcards, number=number, shard=shards(wildcards.data))


def shards_of_layer(wildcards):
    """The activations that hold a layer's hidden states of a model on a data set."""
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer)
    return expand(grid.ACTIVATIONS, **wildcards, number=number, shard=shards(wildcards.data))


def every_shard(pattern):
    """`pattern` for every model × data set × pass × shard."""
    return [
        pattern.format(model=model, data=data, number=number, shard=shard)
        for model, spec in MODELS.items()
        for data in kinds.data_of(STUDY, model)
        for number in range(len(spec["passes"]))
        for shard in shards(data)
    ]


def every_cell(part):
    """One part (scores, predictions, coefficients) of every cell, by the features it is probed on."""
    axes = {"part": part, "pooling": POOLINGS, "threshold": THRESHOLDS, "selection": SELECTIONS}
    own = {model: kinds.data_of(STUDY, model) for model in MODELS}
    return {
        "sae": [f for c in SAE_CELLS for f in expand(grid.PROBE, **c, data=own[c["model"]], **axes)],
        "hidden": [
            f
            for c in LAYER_CELLS
            for f in expand(grid.HIDDEN, **c, data=own[c["model"]], part=part, pooling=HIDDEN_POOLINGS)
        ],
        "tfidf": expand(grid.TFIDF, data=data_that_hold("text"), part=part, unit=TFIDF_UNITS),
        "length": expand(grid.LENGTH, data=data_that_hold("text"), part=part) if WITH_LENGTH else [],
        "pixels": expand(grid.PIXELS, data=data_that_hold("image"), part=part, unit=PIXEL_UNITS),
    }


def data_that_hold(kind):
    return [data for data in DATASETS if kinds.holds(DATASETS[data]) == kind]


def transfer_spec(wildcards):
    """What the library's Transfer takes of a scenario, for one source."""
    scenario = STUDY["transfers"][wildcards.scenario]
    kept = {key: scenario[key] for key in ("targets", "translated", "fractions")}
    return {"sources": scenario["sources"] if wildcards.source == grid.JOINT else [wildcards.source], **kept}


def transfer_data(wildcards):
    """The data sets that one source of a scenario needs, each once."""
    spec = transfer_spec(wildcards)
    return list(dict.fromkeys([*spec["sources"], *spec["targets"], *spec["translated"].values()]))


def transfer_examples(wildcards):
    return expand(grid.EXAMPLES, data=transfer_data(wildcards))


def transfer_features(wildcards):
    """Pooling by pooling, the data sets in the order of transfer_data."""
    return [
        grid.FEATURES.format(**wildcards, data=data, pooling=pooling)
        for pooling in POOLINGS
        for data in transfer_data(wildcards)
    ]


def transfer_shards(wildcards):
    number = grid.pass_of(MODELS, wildcards.model, wildcards.layer)
    return [
        grid.ACTIVATIONS.format(model=wildcards.model, data=data, number=number, shard=shard)
        for data in transfer_data(wildcards)
        for shard in shards(data)
    ]


def every_transfer(part):
    """One part (scores, predictions) of every transfer, by the features it is probed on."""
    files = {"sae": [], "hidden": [], "tfidf": [], "pixels": []}
    axes = {"part": part, "pooling": POOLINGS, "threshold": THRESHOLDS}
    for scenario, spec in STUDY["transfers"].items():
        needed = {*spec["sources"], *spec["targets"], *spec["translated"].values()}
        models = [model for model in MODELS if needed <= set(kinds.data_of(STUDY, model))]
        for source in [*spec["sources"], *([grid.JOINT] if spec["joint"] else [])]:
            pair = {"scenario": scenario, "source": source}
            for cell in (cell for cell in SAE_CELLS if cell["model"] in models):
                files["sae"] += expand(grid.TRANSFER, **pair, **cell, **axes)
            for cell in (cell for cell in LAYER_CELLS if cell["model"] in models):
                files["hidden"] += expand(grid.TRANSFER_HIDDEN, **pair, **cell, part=part, pooling=HIDDEN_POOLINGS)
            if needed <= set(data_that_hold("text")):
                files["tfidf"] += expand(grid.TRANSFER_TFIDF, **pair, part=part, unit=TFIDF_UNITS)
            else:
                files["pixels"] += expand(grid.TRANSFER_PIXELS, **pair, part=part, unit=PIXEL_UNITS)
    return files


CELLS = {part: every_cell(part) for part in PARTS}
TRANSFER_PARTS = ["scores", "predictions"]
TRANSFER_CELLS = {part: every_transfer(part) for part in TRANSFER_PARTS}


def transfer_figures(scenario):
    """The gap needs a target with a probe of its own, and an SAE of a trained model."""
    spec = STUDY["transfers"][scenario]
    pairs = any(source != target for source in spec["sources"] for target in {*spec["targets"]} & {*spec["sources"]})
    files = [file for file in TRANSFER_CELLS["scores"]["sae"] if f"scenario={scenario}/" in file]
    trained = [model for model in MODELS if model not in CONTROLS and any(f"model={model}/" in file for file in files)]
    return ["matrix", "curves", *(["gap"] if pairs and trained else [])]


TRANSFER_TABLES = ["transfer", "transfer_best", "crossings"]
QUALITIES = [
    (grid.QUALITY if sae_owner(cell["model"], cell["width"], STUDY)[0] == cell["model"] else grid.BORROWED).format(
        **cell
    )
    for cell in SAE_CELLS
    if "train" in sae_source(cell["model"], cell["width"])
]


def shown(figure, caption=None):
    """A figure's PNG, marked for the report: the keys of its path are its labels, its caption is named as it is."""
    *place, name = figure.removeprefix("results/figures/").split("/")
    return report(
        f"{figure}.png",
        caption=str(ROOT / "workflow" / "report" / f"{caption or name}.rst"),
        category="Figures",
        labels={"figure": name.replace("_", " "), **dict(part.split("=") for part in place)},
    )


def page(name):
    """A page of the report, with its place in the menu."""
    categories = {"warnings": "Warnings"} | dict.fromkeys(["study", "provenance", "runtimes"], "Study")
    return report(
        f"results/report/{name}.html",
        caption=str(ROOT / "workflow" / "report" / "page.rst"),
        category=categories.get(name, "Tables"),
        labels={"page": name.replace("_", " ")},
    )


def published_l0(model, layer, width, **_):
    """[model, layer, width, L0] of a published SAE."""
    return [model, int(layer), width, releases.find(sae_source(model, width), layer, grid.split_width(width)[0])[1]]


PUBLISHED_L0 = [published_l0(**cell) for cell in SAE_CELLS if "release" in sae_source(cell["model"], cell["width"])]
BEHAVIOUR = {name: spec["behaviour_of"] for name, spec in DATASETS.items() if "behaviour_of" in spec}
CONTROLS = {model: spec["control_of"] for model, spec in MODELS.items() if "control_of" in spec}
TABLES = ["scores", "best", "classes", "saes", "datasets", "provenance", "warnings"]
CLAIMS = ["claims", "behaviour"]
# What every rule that writes tables takes beside its cells, to say where they come from.
ORIGINS = {"summaries": every_shard(grid.SUMMARY), "examples": expand(grid.EXAMPLES, data=DATASETS)}
REPORTED = [
    *TABLES,
    *(CLAIMS if BEHAVIOUR else CLAIMS[:1]),
    *(["transfer_best", "crossings"] if STUDY["transfers"] else []),
    *(["matches", "match_best", "match_claims"] if STUDY["matches"] else []),
]
DRAWN = {model: any(cell["model"] == model for cell in SAE_CELLS) for model in MODELS if model not in CONTROLS}
FIGURES = [
    "results/figures/baselines",
    *expand("results/figures/model={model}/layer_width", model=DRAWN),
    *expand(
        "results/figures/model={model}/{figure}",
        model=[model for model in DRAWN if DRAWN[model]],
        figure=["pooling_threshold", *(["selection"] if len(SELECTIONS) > 1 else [])],
    ),
]


def wanted_cells(wildcards):
    """The scores of the cells that --config cell=… names: values of their paths, from the left, as minilm/3/1k/sst2."""
    every = [file for files in CELLS["scores"].values() for file in files]
    found = [file for file in every if grid.is_within(file, WANTED)]
    if not found:
        raise ValueError(f"cell={WANTED or '?'} names no cell; for example --config cell={grid.short_name(every[0])}")
    return found
