"""What is drawn several times: an entry per draw in the study, one in the config."""

import copy

import pytest
from refusals import fails
from tessera.study.config import load


@pytest.fixture
def config(tmp_path):
    """A model, its control and its twin, SAEs of two entries that are trained here and one that is borrowed."""
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 4}')
    train = {"texts": ["d"], "k": 4}
    return {
        "seed": 7,
        "models": {
            "m": {"path": str(tmp_path), "saes": "s", "passes": [{1: [64, "64_t"]}, {2: []}, {3: [128]}]},
            "r": {"control_of": "m", "saes": "s", "draws": 3, "passes": [{1: [64, "64_t"], 2: []}]},
            "twin": {"tuned": {"from": "m", "data": "d"}, "passes": [{1: ["64_theirs"]}]},
        },
        "saes": {
            "s": {"train": {**train, "draws": 2}},
            "t": {"train": {**train, "seed": 3, "draws": 4}},
            "theirs": {"of": "m"},
        },
        "datasets": {"d": {"path": "d.csv"}},
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "matches": {
            "across": {
                "a": {"model": "m", "layer": 1, "width": 64},
                "b": {"model": "r", "layer": 1, "width": "64_t"},
                "texts": ["d"],
            }
        },
    }


def test_each_draw_is_an_entry(config):
    study = load(config)
    assert [*study.models] == ["m", "r", "twin", "r.draw1", "r.draw2"]
    assert study.controls == {"r": "m", "r.draw1": "m", "r.draw2": "m"}
    seeds = {name: recipe["train"].get("seed") for name, recipe in study.saes.items() if "train" in recipe}
    assert seeds == {"s": None, "t": 3, "s.draw1": 1007, "t.draw1": 1003, "t.draw2": 2003, "t.draw3": 3003}


def test_a_model_has_its_widths_in_every_draw_of_their_saes(config):
    models = load(config).models
    assert models["m"]["passes"] == [
        {"1": ["64", "64_s.draw1", "64_t", "64_t.draw1", "64_t.draw2", "64_t.draw3"]},
        {"2": []},
        {"3": ["128", "128_s.draw1"]},
    ]
    assert models["twin"]["passes"] == [{"1": ["64_theirs"]}]  # draw 0


def test_a_draw_of_a_control_has_one_sae(config):
    study = load(config)
    names = ["r", "r.draw1", "r.draw2"]
    assert [study.models[name]["passes"] for name in names] == [
        [{"1": ["64", "64_t"], "2": []}],
        [{"1": ["64", "64_t.draw1"], "2": []}],
        [{"1": ["64", "64_t.draw2"], "2": []}],
    ]
    assert [study.sae_entry(name, "64") for name in names] == ["s", "s.draw1", "s"]  # s has no third draw
    kept = {key: part for key, part in study.models["r"].items() if key not in ("passes", "saes")}
    assert all(study.models[name] | kept == study.models[name] for name in names)


def test_names_of_draws_lead_back_to_the_config(config):
    study = load(config)
    given = {(model, width) for model, width, _ in (study.drawn(*place) for place in places(study))}
    assert given == set(places(load(without_draws(config))))
    assert study.drawn("m", None) == ("m", None, 0)
    assert study.drawn("m", "64") == ("m", "64", 0)
    assert study.drawn("m", "64_s.draw1") == ("m", "64", 1)
    assert study.drawn("m", "64_t.draw3") == ("m", "64_t", 3)
    assert study.drawn("r.draw2", None) == ("r", None, 2)
    assert study.drawn("r.draw2", "64") == ("r", "64", 2)
    assert study.drawn("r.draw2", "64_t.draw2") == ("r", "64_t", 2)
    assert study.drawn("twin", "64_theirs") == ("twin", "64_theirs", 0)


def places(study):
    return [(cell["model"], cell["width"]) for cell in study.sae_cells()]


def without_draws(config):
    config = copy.deepcopy(config)
    for entry in (config["models"]["r"], config["saes"]["s"]["train"], config["saes"]["t"]["train"]):
        del entry["draws"]
    return config


def test_no_two_widths_are_one_draw_of_one_width(config):
    study = load(config)
    found = [(cell["layer"], *study.drawn(cell["model"], cell["width"])) for cell in study.sae_cells()]
    assert len({*found}) == len(found)


def test_a_width_that_names_the_models_own_entry_keeps_its_name(config):
    config["models"]["m"]["passes"] = [{1: ["64_s"]}]
    del config["matches"], config["models"]["twin"]
    study = load(config)
    assert study.models["m"]["passes"] == [{"1": ["64_s", "64_s.draw1"]}]
    assert study.drawn("m", "64_s.draw1") == ("m", "64_s", 1)


def test_the_config_of_a_study_has_each_entry_once(config):
    study = load(config)
    shown = study.config
    assert [*shown["models"]] == ["m", "r", "twin"] and [*shown["saes"]] == ["s", "t", "theirs"]
    assert shown["models"]["m"]["passes"] == [{"1": ["64", "64_t"]}, {"2": []}, {"3": ["128"]}]
    assert (shown["models"]["r"]["draws"], shown["saes"]["t"]["train"]["draws"]) == (3, 4)
    again = load(shown)
    assert (again.config, again.models, again.saes) == (shown, study.models, study.saes)


def test_without_draws_nothing_is_added(config):
    study = load(without_draws(config))
    assert [*study.models] == ["m", "r", "twin"] and [*study.saes] == ["s", "t", "theirs"]
    assert "draws" not in study.models["r"] and study.saes["s"]["train"]["draws"] == 1


def test_a_draw_is_nothing_that_a_config_names(config):
    config["matches"]["across"]["b"] = {"model": "r.draw1", "layer": 1, "width": 64}
    fails(lambda: load(config), "config key matches.across.b.model", "'r.draw1' is not there", "m, r, twin")
    config["matches"]["across"]["b"] = {"model": "m", "layer": 1, "width": "64_t.draw1"}
    fails(lambda: load(config), "config key matches.across.b", "no layer 1 with width 64_t.draw1")


@pytest.mark.parametrize("section", ["models", "saes"])
def test_the_name_of_a_draw_is_refused(config, section):
    config[section]["s.draw1"] = next(iter(config[section].values()))
    fails(lambda: load(config), f"config key {section}.s.draw1", "is that of a draw; rename it")
    config[section]["s.drawn"] = config[section].pop("s.draw1")
    load(config)


def test_only_what_is_drawn_has_draws(config):
    config["models"]["m"]["draws"] = 2
    fails(lambda: load(config), "config key models.m.draws", "only a model with the key control_of")
    del config["models"]["m"]["draws"]
    config["saes"]["theirs"]["draws"] = 2
    fails(lambda: load(config), "config key saes.theirs", "unknown key 'draws'")


@pytest.mark.parametrize("number", [0, 21, 1.5, "3", True, None], ids=str)
def test_draws_are_one_to_twenty(config, number):
    for entry, key in (
        (config["models"]["r"], "models.r.draws"),
        (config["saes"]["s"]["train"], "saes.s.train.draws"),
    ):
        before = entry["draws"]
        entry["draws"] = number
        fails(lambda: load(config), f"config key {key}")
        entry["draws"] = before


def test_a_width_with_draws_is_written_one_way(config):
    config["models"]["m"]["passes"].append({2: ["64_s"]})
    fails(lambda: load(config), "config key models.m.passes[3].2", "width 64_s is written 64 too", "write it one way")
    del config["saes"]["s"]["train"]["draws"]
    load(config)
