"""Scenarios in a config: one line for every mistake, that says which key, what stands there and what may."""

import copy
import json

import pytest
import yaml
from refusals import fails
from tessera.steering.directions import OF_LABELS
from tessera.steering.erasers import PROJECTIONS
from tessera.steering.measures import ERASERS, RANDOM, TITLES
from tessera.study import interventions
from tessera.study.config import SCHEMA, load

PLACE = "m/1/512/d"
ANSWERS = {"data": "asked", "choice": "good"}
PROMPTS = {"texts": ["a", "b", "c", "d"]}
JUDGE = {"url": "http://localhost/v1", "model": "j", "question": "{text}?"}


@pytest.fixture
def config(tmp_path):
    """A model with an SAE at layer 1 of four, another that reads one data set, one of images, one data set each."""
    for name in ("m", "r", "v"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"num_hidden_layers": 4}))
    (tmp_path / "v" / "preprocessor_config.json").write_text("{}")
    return {
        "models": {
            "m": {"path": str(tmp_path / "m"), "saes": "s", "passes": [{1: [512], 3: []}, {0: []}]},
            "r": {"path": str(tmp_path / "r"), "data": ["d"], "passes": [{2: []}]},
            "v": {"path": str(tmp_path / "v"), "reads": "image", "saes": "t", "passes": [{2: [64]}]},
        },
        "saes": {"s": {"train": {"texts": ["d", "e"]}}, "t": {"train": {"texts": ["i"]}}},
        "datasets": {
            "d": {"path": "d.csv"},
            "e": {"path": "e.csv"},
            "asked": {"path": "a.csv", "answered": {"model": "m", "answers": ["bad", "good"]}},
            "i": {"path": "i.csv", "image": "file"},
        },
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "interventions": {"one": {"place": PLACE, "class": "c", "answers": dict(ANSWERS)}},
    }


def put(config, **values):
    """Keys of the scenario set, or taken away where the value is None."""
    config["interventions"]["one"] |= values
    for key in [key for key, value in values.items() if value is None]:
        del config["interventions"]["one"][key]
    return config


def test_a_scenario_has_defaults_and_reads_as_itself(config):
    study = load(config)
    one = study.interventions["one"]
    assert one["directions"] == ["probe", "correlation", "difference", "hidden", "random"]
    assert (one["latents"], one["erase"], one["k"], one["draws"]) == ([], [], 8, 5)
    assert (one["alphas"], one["tokens"], one["perplexity"]) == ([0.1, 0.2, 0.4], "content", 1.5)
    assert not {"prompts", "reader", "judge", "others", "neutral"} & one.keys()
    assert load(study.config).config == study.config


def test_neutral_texts_are_the_others_that_the_sae_was_trained_on(config):
    assert interventions.neutral(load(config), "one") == ["e"]
    assert interventions.neutral(load(put(config, neutral=["d", "asked"])), "one") == ["asked"]


def test_a_reader_is_read_in_the_pass_where_it_is_a_later_layer_and_nothing_is_written(config):
    for reader, prompts, expected in (
        ("m/3", None, True),
        ("r/2", PROMPTS, False),
        ("m/3", PROMPTS, False),
        (None, PROMPTS, False),
    ):
        study = load(
            put(copy.deepcopy(config), **{k: v for k, v in {"reader": reader, "prompts": prompts}.items() if v})
        )
        assert interventions.reads_states(study, "one") is expected


GOOD = {
    "an earlier layer reads what is written": {"reader": "m/0", "prompts": PROMPTS},
    "another model reads what is written": {"reader": "r/2", "prompts": PROMPTS},
    "nothing is steered, and nothing looked at": {"directions": [], "erase": ["leace"], "answers": None},
    "prompts alone": {"answers": None, "prompts": PROMPTS},
    "prompts of a data set": {"answers": None, "prompts": {"data": "asked"}},
    "the last latent": {"latents": [511]},
    "a judge": {"prompts": PROMPTS, "judge": JUDGE},
}


@pytest.mark.parametrize("values", GOOD.values(), ids=GOOD)
def test_good_scenarios(config, values):
    load(put(config, **values))


ONE = "config key interventions.one"
BAD = {
    "place of no SAE": ({"place": "m/3/512/d"}, [f"{ONE}.place", "'m/3/512/d'", f"for example {PLACE}"]),
    "place of a beginning": ({"place": "m/1"}, [f"{ONE}.place", "'m/1'", PLACE]),
    "place of another data set": ({"place": "m/1/512/x"}, [f"{ONE}.place", "'m/1/512/x'", PLACE]),
    "place of images": ({"place": "v/2/64/i", "answers": None}, [f"{ONE}.place", "'v'", "images", "models of texts"]),
    "no place": ({"place": None}, [ONE, "place is missing"]),
    "no class": ({"class": None}, [ONE, "class is missing"]),
    "latents that there are not": ({"latents": [3, 512]}, [f"{ONE}.latents", "512 is no latent", "an SAE of 512"]),
    "a direction of no kind": ({"directions": ["mean"]}, [f"{ONE}.directions[0]", "'mean'", "probe, correlation"]),
    "an eraser of no kind": ({"erase": ["inlp"]}, [f"{ONE}.erase[0]", "'inlp'", "leace, probe, difference, random"]),
    "alpha of nothing": ({"alphas": [0.1, 0]}, [f"{ONE}.alphas[1]", "0"]),
    "no alpha": ({"alphas": []}, [f"{ONE}.alphas", "non-empty"]),
    "one draw": ({"draws": 1}, [f"{ONE}.draws: 1", "2"]),
    "perplexity of 1": ({"perplexity": 1}, [f"{ONE}.perplexity: 1"]),
    "neutral texts that are not read": (
        {"neutral": ["i"]},
        [f"{ONE}.neutral: 'm' does not read the data set 'i'", "allowed: d, e, asked"],
    ),
    "no neutral texts but those of the scenario": (
        {"neutral": ["d"]},
        [f"{ONE}.neutral", "missing", "other than 'd'", "'m' reads"],
    ),
    "others that are not read": ({"others": ["i"]}, [f"{ONE}.others: 'm' does not read the data set 'i'", "d, e"]),
    "nothing to do": ({"directions": []}, [ONE, "nothing is to be done", "give directions, latents, clamps or erase"]),
    "nothing to change": ({"answers": None}, [ONE, "give answers, prompts or a reader"]),
    "nothing to change by a latent": (
        {"answers": None, "directions": [], "latents": [1]},
        [ONE, "give answers, prompts or a reader"],
    ),
    "answers of no data set": (
        {"answers": {"data": "d", "choice": "good"}},
        [f"{ONE}.answers.data", "'d'", "'m' answers", "allowed: asked"],
    ),
    "no such answer": (
        {"answers": {"data": "asked", "choice": "great"}},
        [f"{ONE}.answers.choice", "'great'", "allowed: bad, good"],
    ),
    "prompts of no data set": (
        {"prompts": {"data": "x"}},
        [f"{ONE}.prompts.data", "'x'", "no data set of texts", "allowed: d, e, asked"],
    ),
    "prompts of images": ({"prompts": {"data": "i"}}, [f"{ONE}.prompts.data", "'i'", "allowed: d, e, asked"]),
    "prompts of two kinds": ({"prompts": PROMPTS | {"data": "e"}}, [f"{ONE}.prompts", "exactly one of texts or data"]),
    "too few prompts": ({"prompts": {"texts": ["a", "b", "c"]}}, [f"{ONE}.prompts.texts", "too short"]),
    "a judge of nothing": ({"judge": JUDGE}, [f"{ONE}.judge", "nothing to judge", "give prompts"]),
    "a scale that falls": (
        {"judge": JUDGE | {"scale": [10, 0]}, "prompts": PROMPTS},
        [f"{ONE}.judge.scale", "[10, 0]", "not ascending"],
    ),
    "a reader of no layer": ({"reader": "m/2"}, [f"{ONE}.reader", "'m/2'", "allowed: m/1, m/3, m/0, r/2, v/2"]),
    "a reader of images": ({"reader": "v/2"}, [f"{ONE}.reader", "'v' reads images"]),
    "a reader where directions are made": ({"reader": "m/1"}, [f"{ONE}.reader", "name another layer"]),
    "a reader before that": ({"reader": "m/0"}, [f"{ONE}.reader", "without prompts", "a layer behind 1"]),
    "another model that nothing is written for": (
        {"reader": "r/2"},
        [f"{ONE}.reader: 'r' reads what is written", "give prompts", "a layer of 'm' behind 1"],
    ),
    "a reader that does not read others": (
        {"reader": "r/2", "prompts": PROMPTS, "others": ["e"]},
        [f"{ONE}.reader: 'r' does not read the data set 'e'", "allowed: d"],
    ),
    "unknown key": ({"alpha": [1]}, [ONE, "'alpha'", "did you mean 'alphas'"]),
}


@pytest.mark.parametrize(("values", "expected"), BAD.values(), ids=BAD)
def test_bad_scenarios(config, values, expected):
    fails(lambda: load(put(config, **values)), *expected)


def test_saes_that_are_not_trained_here_have_no_neutral_texts(config, tmp_path):
    del config["saes"]["s"]["train"]
    folder = tmp_path / "saes" / "1" / "512"
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text("{}")
    config["saes"]["s"]["path"] = str(tmp_path / "saes" / "{layer}" / "{width}")
    fails(lambda: load(config), f"{ONE}.neutral: missing", "other than 'd'")
    assert interventions.neutral(load(put(config, neutral=["e"])), "one") == ["e"]


def test_a_study_where_nothing_answers_has_none_to_ask(config):
    del config["datasets"]["asked"]
    fails(lambda: load(config), f"{ONE}.answers.data: 'asked'", "allowed: none yet")


def test_a_study_without_saes_has_no_place(config):
    config["models"]["m"]["passes"] = [{1: []}]
    config["models"]["v"]["passes"] = [{2: []}]
    fails(lambda: load(config), f"{ONE}.place: '{PLACE}' names no SAE")


def test_a_name_is_a_folder(config):
    config["interventions"]["../x"] = config["interventions"]["one"]
    fails(lambda: load(config), "config key interventions", "'../x'")


def test_the_schema_names_the_directions_and_erasers_that_there_are():
    keys = yaml.safe_load(SCHEMA.read_text())["properties"]["interventions"]["additionalProperties"]["properties"]
    assert keys["directions"]["items"]["enum"] == keys["directions"]["default"] == [*TITLES] == [*OF_LABELS, RANDOM]
    assert keys["erase"]["items"]["enum"] == [*ERASERS] and {*PROJECTIONS} < {*ERASERS}
