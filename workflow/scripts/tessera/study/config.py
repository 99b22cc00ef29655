"""Validate a study's config before anything runs, and fill in its defaults."""

import difflib
import json
import math
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import best_match

from tessera.base.errors import TesseraError, shorten
from tessera.base.files import resolve
from tessera.study import checks, draws, evidence, interventions, media, releases, saes
from tessera.study.architecture import check_reader, count_layers, stack_of
from tessera.study.gguf import is_gguf, read_gguf
from tessera.study.grid import BEFORE_ANSWER, parse_threshold, parse_width, split_width
from tessera.study.paths import JOINT
from tessera.study.study import Study

SOURCES = ("path", "hub", "control_of", "tuned")  # where a model comes from
# What a control, or a tuned copy, has from its model.
INHERITED = (
    *("reads", "prompt", "max_tokens", "prepend_bos", "chat"),
    *("hook", "pool_massive", "device", "dtype", "activation_dtype"),
)
PENALISED = ("standard", "gated")  # architectures without thresholds to set
MOST_VALUES, MOST_LEVELS, MOST_BITS = 100_000, 50, 1024
SHIPPED = Path(__file__).with_name("config.schema.yaml")  # with an installed package
SCHEMA = SHIPPED if SHIPPED.exists() else Path(__file__).parents[3] / "schemas" / "config.schema.yaml"


def load(config: dict) -> Study:
    """The config with every default filled in and every value checked that needs no data.

    Raises:
        TesseraError: names the key, the value and what is allowed.
    """
    _check_size(config)
    study = _copy(config)
    _spell_axes(study)
    _inherit(study)
    _ask_alike(study)
    media.check_columns(study)
    _check_schema(study)
    study = Study(**study)
    draws.check(study.models, study.saes)
    study.probe.setdefault("seed", study.seed)
    for dataset in study.datasets.values():
        if media.holds(dataset) == "image":
            dataset.pop("text", None)  # a default
    for name, recipe in study.saes.items():
        if "release" in recipe and ("{l0}" in recipe["id"]) != ("l0" in recipe):
            raise TesseraError(f"config key saes.{name}.l0: give it exactly where the id has {{l0}} in it")
        if "train" in recipe and "trained_on" in recipe:
            raise TesseraError(f"config key saes.{name}.trained_on: SAEs trained here are trained on the model itself")
        if "train" in recipe and recipe["train"]["batch_tokens"] > recipe["train"]["tokens"]:
            raise TesseraError(
                f"config key saes.{name}.train.batch_tokens: {recipe['train']['batch_tokens']} is over tokens: "
                f"{recipe['train']['tokens']}, all that are cached"
            )
        train = recipe.get("train", {})
        if train.get("freeze") == "all" and train["architecture"] in PENALISED:
            raise TesseraError(
                f"config key saes.{name}.train.freeze: where nothing is learnt, no penalty makes a "
                f"{train['architecture']} SAE as sparse as k; take another architecture"
            )
        for texts in train.get("texts", []):
            _known(f"saes.{name}.train.texts", texts, study.datasets)
    for name in study.baselines["embeddings"]:
        _known("baselines.embeddings", name, study.models)
    for name, model in study.models.items():
        _check_model(name, model, study)
    checks.check_datasets(study)
    for name, match in study.matches.items():
        match.setdefault("data", match["texts"])
        for data in [*match["texts"], *match["data"]]:
            _known(f"matches.{name}.{'texts' if data in match['texts'] else 'data'}", data, study.datasets)
        for side in saes.SIDES:
            _known(f"matches.{name}.{side}.model", match[side]["model"], study.models)
        saes.check_match(f"matches.{name}", match, study)
    for name, scenario in study.transfers.items():
        _check_transfer(f"transfers.{name}", scenario, study.datasets)
    for name, dataset in study.datasets.items():
        if "answered" in dataset:
            _known(f"datasets.{name}.answered.model", dataset["answered"]["model"], study.models)
            checks.check_answers(name, dataset, study)
            if "shifts" in dataset:
                raise TesseraError(f"config key datasets.{name}.shifts: a data set with the key answered has none")
            if {"image", "pixels"} & dataset.keys():
                raise TesseraError(f"config key datasets.{name}.answered: it holds images; only texts can be answered")
            checks.check_learns(f"datasets.{name}.answered.model", dataset["answered"]["model"], name, study)
            dataset["behaviour_of"] = dataset["answered"]["model"]
        if "hub" in dataset and "max_examples" not in dataset:
            raise TesseraError(
                f"config key datasets.{name}.max_examples: missing; a hub data set needs it to plan its shards"
            )
    evidence.check(study)
    interventions.check(study)
    _check_explanations(study)
    return _expanded(study)


def restore(config: dict) -> Study:
    """The study of a `Study.config`, which was checked when it was made: none of its files need be there."""
    return _expanded(Study(**_copy(config)))


def _expanded(study: Study) -> Study:
    draws.expand(study.models, study.saes, study.seed)
    saes.add_random(study)
    return study


def _check_transfer(key: str, scenario: dict, datasets: dict) -> None:
    scenario.setdefault("targets", scenario["sources"])
    for role in ("sources", "targets"):
        for data in scenario[role]:
            _known(f"{key}.{role}", data, datasets)
    for target, data in scenario["translated"].items():
        _known(f"{key}.translated", target, scenario["targets"])
        _known(f"{key}.translated.{target}", data, datasets)
    checks.check_scenario(key, [*scenario["sources"], *scenario["targets"], *scenario["translated"].values()], datasets)
    if JOINT in scenario["sources"]:
        raise TesseraError(
            f"config key {key}.sources: {JOINT!r} means all sources together; name the data set otherwise"
        )
    if scenario["joint"] and len(scenario["sources"]) < 2:
        raise TesseraError(f"config key {key}.joint: there is one source only")
    if 1.0 not in scenario["fractions"]:
        raise TesseraError(f"config key {key}.fractions: 1.0 is missing, which the best cells are chosen at")


def _check_explanations(study: Study) -> None:
    for model, layer, width, _ in evidence.named(study, study.evidence["places"]):
        entry = study.sae_entry(*study.sae_owner(model, width))
        path = study.saes[entry].get("explanations")
        if path is not None and not filled(path, layer, width).is_file():
            raise TesseraError(f"config key saes.{entry}.explanations: {str(filled(path, layer, width))!r} is no file")


def sae_folder(recipe: dict, layer: str, width: str) -> Path:
    """The user's SAE folder of a layer and width."""
    return filled(recipe["path"], layer, width)


def filled(path: str, layer: str, width: str) -> Path:
    """The file or folder of a layer and width: `{layer}` and `{width}` in a path filled in."""
    return resolve(path.replace("{layer}", layer).replace("{width}", split_width(width)[0]))


def _check_size(config: dict) -> None:
    """No study has this many values, levels or digits; aliases that multiply, or contain themselves, have more."""
    rest, values = [("", config, 0)], 0
    while rest:
        key, value, depth = rest.pop()
        values += 1
        if values > MOST_VALUES or depth > MOST_LEVELS:
            raise TesseraError(
                f"config key (top level): more than {MOST_VALUES} values or {MOST_LEVELS} levels; are there YAML "
                f"aliases that multiply?"
            )
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise TesseraError(f"config key {key}: a number of {value.bit_length()} bits")
        if isinstance(value, dict):
            rest += [(key, name, depth + 1) for name in value]
            below = f"{key}." if key else ""
            rest += [(below + shorten(name).strip("'"), part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            rest += [(f"{key}[{index}]", part, depth + 1) for index, part in enumerate(value)]


def _copy(value: object, key: str = "") -> object:
    """A deep copy with string keys, whole floats as integers; two keys of the same spelling are an error."""
    if isinstance(value, dict):
        copied = {str(name): _copy(part, f"{key}.{name}".lstrip(".")) for name, part in value.items()}
        if len(copied) < len(value):
            raise TesseraError(f"config key {key}: a key is there twice, as a number and as a string")
        return copied
    if isinstance(value, list):
        return [_copy(part, f"{key}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise TesseraError(f"config key {key}: {value} is not a finite number")
    return value


def _spell_axes(study: dict) -> None:
    """Axis values as the strings that stand in paths: thresholds 1 and 1.0 as 1.0, widths 512 as 512."""
    grid, models = study.get("grid"), study.get("models")
    if isinstance(grid, dict) and isinstance(grid.get("thresholds"), list):
        grid["thresholds"] = [_spell_threshold(value) for value in grid["thresholds"]]
    matches = study.get("matches")
    for match in matches.values() if isinstance(matches, dict) else ():
        for cell in match.values() if isinstance(match, dict) else ():
            if isinstance(cell, dict):
                cell |= {key: str(cell[key]) for key in ("layer", "width") if type(cell.get(key)) is int}
    for model in models.values() if isinstance(models, dict) else ():
        passes = model.get("passes") if isinstance(model, dict) else None
        layers = model.get("token_states") if isinstance(model, dict) else None
        if isinstance(layers, list):
            model["token_states"] = [str(layer) if type(layer) is int else layer for layer in layers]
        for one_pass in passes if isinstance(passes, list) else ():
            for layer, widths in one_pass.items() if isinstance(one_pass, dict) else ():
                if isinstance(widths, list):
                    one_pass[layer] = [str(width) if type(width) is int else width for width in widths]


def _spell_threshold(value: object) -> str:
    try:
        kind, number = parse_threshold(str(value))
    except ValueError as error:
        raise TesseraError(f"config key grid.thresholds: {error}") from error
    if kind == "none":
        return kind
    return repr(number) if kind == "fixed" else f"q{100 * number:.10g}"


def _inherit(study: dict) -> None:
    """A control, or a tuned copy, reads the texts as its model does, unless its entry says otherwise."""
    models = study.get("models")
    for model in models.values() if isinstance(models, dict) else ():
        source, passed = model, []
        while isinstance(source, dict) and source not in passed:  # a control of a tuned copy, whichever stands first
            passed.append(source)
            source = models.get(_parent(source))
            for key in INHERITED if isinstance(source, dict) else ():
                if key in source:
                    model.setdefault(key, source[key])


def _ask_alike(study: dict) -> None:
    """Hidden states are read before the answer where latents are, unless the config lists their poolings."""
    grid, baselines = study.get("grid"), study.setdefault("baselines", {})
    poolings = grid.get("poolings") if isinstance(grid, dict) else None
    if isinstance(poolings, list) and BEFORE_ANSWER in poolings and isinstance(baselines, dict):
        own = _schema()["properties"]["baselines"]["properties"]["hidden"]["default"]
        baselines.setdefault("hidden", [*own, BEFORE_ANSWER])


def _parent(model: dict) -> str | None:
    """Name of the model that a control or a tuned copy comes from."""
    tuned = model.get("tuned")
    name = model.get("control_of", tuned.get("from") if isinstance(tuned, dict) else None)
    return name if isinstance(name, str) else None


def _with_defaults(validator_class):
    """The recipe from jsonschema's documentation: a validator that also fills in defaults."""
    check_properties = validator_class.VALIDATORS["properties"]

    def fill_and_check(validator, properties, instance, schema):
        if isinstance(instance, dict):
            for key, subschema in properties.items():
                if "default" in subschema:
                    instance.setdefault(key, json.loads(json.dumps(subschema["default"])))
        yield from check_properties(validator, properties, instance, schema)

    whole = validator_class.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)  # 1.0 is none
    return validators.extend(validator_class, {"properties": fill_and_check}, type_checker=whole)


@cache
def _schema() -> dict:
    return yaml.safe_load(SCHEMA.read_text())


def _check_schema(study: dict) -> None:
    schema = _schema()
    error = best_match(_with_defaults(Draft202012Validator)(schema).iter_errors(study))
    if error is None:
        return
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    raise TesseraError(f"config key {key or '(top level)'}: {_explain(error)}")


def _explain(error) -> str:
    value = shorten(error.instance)
    match error.validator:
        case "additionalProperties":
            allowed = list(error.schema.get("properties", {}))
            unknown = next(key for key in error.instance if key not in allowed)
            close = difflib.get_close_matches(unknown, allowed, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            return f"unknown key {shorten(unknown)}{hint}; allowed: {', '.join(allowed)}"
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            return f"{', '.join(missing)} is missing"
        case "oneOf":
            choices = " or ".join(key for option in error.validator_value for key in option["required"])
            return f"give exactly one of {choices}"
        case "enum":
            allowed = ", ".join(one if isinstance(one, str) else json.dumps(one) for one in error.validator_value)
            return f"{value} is not allowed; allowed: {allowed}"
        case "pattern":
            meaning = error.schema.get("description", "")
            return f"{value} is not allowed; allowed: {meaning} (pattern {error.validator_value})"
        case "type":
            return f"{value} is not of type {error.validator_value}"
        case _:
            return shorten(error.message, 200)[1:-1]


def _known(key: str, value: str, allowed) -> None:
    if value not in allowed:
        raise TesseraError(f"config key {key}: {value!r} is not there; allowed: {', '.join(allowed) or 'none yet'}")


def _check_model(name: str, model: dict, study: Study) -> None:
    key = f"models.{name}"
    sources = [source for source in SOURCES if source in model]
    if len(sources) != 1:
        raise TesseraError(
            f"config key {key}: give exactly one of {', '.join(SOURCES)} (there: {', '.join(sources) or 'none'})"
        )
    if "control_of" in model:
        trained = [other for other, entry in study.models.items() if "control_of" not in entry]
        _known(f"{key}.control_of", model["control_of"], trained)
    if "tuned" in model:
        bases = [other for other, entry in study.models.items() if {"path", "hub"} & set(entry)]
        if "from" in model["tuned"]:
            _known(f"{key}.tuned.from", model["tuned"]["from"], bases)
        _known(f"{key}.tuned.data", model["tuned"]["data"], study.datasets)
    for data in model.get("data", []):
        _known(f"{key}.data", data, study.datasets)
    if "revision" in model and "hub" not in model:
        raise TesseraError(f"config key {key}.revision: only a model with the key hub has a revision")
    if "truth" in model and not {"path", "hub"} & set(model):
        raise TesseraError(f"config key {key}.truth: only a model with the key path or hub has known directions")
    if "truth" in model and not resolve(model["truth"]).is_file():
        raise TesseraError(f"config key {key}.truth: {model['truth']!r} is not there")
    source = study.models[study.architecture(name)]
    checks.check_model(name, study)
    checks.check_read(name, study)
    tuned = source.get("tuned", {})
    source = study.models[tuned["from"]] if "from" in tuned else source
    if "config" in tuned:
        on_disk = tuned["config"]
    elif "path" in source:
        on_disk = _config_on_disk(key, source["path"])
        check_reader(key, on_disk, resolve(source["path"]), model)
    else:
        on_disk = {}
    layers, longest = count_layers(stack_of(on_disk, model)), on_disk.get("max_position_embeddings")
    if media.reads(model) == "text" and longest is not None and model["max_tokens"] > longest:
        raise TesseraError(f"config key {key}.max_tokens: {model['max_tokens']}, but the model reads at most {longest}")
    read = dict.fromkeys(layer for one_pass in model["passes"] for layer in one_pass)
    for layer in model.get("token_states", ()):
        _known(f"{key}.token_states", layer, read)
    seen: set[tuple[str, str]] = set()
    for index, one_pass in enumerate(model["passes"]):
        for layer, widths in one_pass.items():
            here = f"{key}.passes[{index}].{layer}"
            if layers is not None and int(layer) >= layers:
                raise TesseraError(f"config key {here}: the model has {layers} layers; allowed: 0 to {layers - 1}")
            for width in widths:
                if "saes" not in model and not split_width(width)[1]:
                    raise TesseraError(f"config key {key}.saes: missing, and {here} asks for width {width}")
                entry = study.sae_entry(name, width)
                _known(f"{key}.saes" if entry == model.get("saes") else here, entry, study.saes)
                _check_width(here, layer, width, entry, study.saes[entry])
                if "of" in study.saes[entry]:
                    _known(f"saes.{entry}.of", study.saes[entry]["of"], [m for m in study.models if m != name])
                    saes.check_borrowed(here, name, layer, width, study)
                for texts in study.saes[entry].get("train", {}).get("texts", []):
                    checks.check_learns(f"saes.{entry}.train.texts", name, texts, study)
                if (layer, width) in seen:
                    raise TesseraError(f"config key {here}: layer {layer} width {width} is in an earlier pass already")
                seen.add((layer, width))


def _config_on_disk(key: str, path: str) -> dict:
    folder = resolve(path)
    if is_gguf(path):
        return read_gguf(f"{key}.path", folder)
    file = folder / "config.json"
    if not file.is_file():
        raise TesseraError(f"config key {key}.path: {str(folder)!r} is not a model folder (no config.json in it)")
    try:
        config = json.loads(file.read_text())
        count_layers(config)
        return config
    except (ValueError, AttributeError) as error:
        raise TesseraError(f"config key {key}.path: {str(file)!r} is no model config: {error}") from error


def _check_width(key: str, layer: str, width: str, entry: str, recipe: dict) -> None:
    try:
        latents = parse_width(width)
    except ValueError as error:
        raise TesseraError(f"config key {key}: {error}") from error
    if "train" in recipe and recipe["train"]["k"] >= latents:
        raise TesseraError(
            f"config key saes.{entry}.train.k: {recipe['train']['k']} is not below width {width}, which {key} asks for"
        )
    if "release" in recipe:
        try:
            releases.find(recipe, layer, split_width(width)[0])
        except TesseraError as error:
            raise TesseraError(f"config key {key}: {error}") from None
    if "path" in recipe:
        folder = sae_folder(recipe, layer, width)
        if not (folder / "cfg.json").is_file():
            raise TesseraError(f"config key {key}: no SAE of width {width} ({str(folder)!r} has no cfg.json)")
