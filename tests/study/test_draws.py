"""What is drawn several times: an entry per draw in the study, one in the config."""

import copy

import pytest
from refusals import fails
from tessera.plan import saes
from tessera.study import releases
from tessera.study.config import load
from tessera.study.untrained import is_control, is_random


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
    seeds = {name: study.saes[name]["train"].get("seed") for name in given(study) if "train" in study.saes[name]}
    assert seeds == {"s": None, "t": 3, "s.draw1": 1007, "t.draw1": 1003, "t.draw2": 2003, "t.draw3": 3003}


def test_a_model_has_its_widths_in_every_draw_of_their_saes(config):
    models = load(config).models
    assert passes(models["m"]) == [
        {"1": ["64", "64_s.draw1", "64_t", "64_t.draw1", "64_t.draw2", "64_t.draw3"]},
        {"2": []},
        {"3": ["128", "128_s.draw1"]},
    ]
    assert passes(models["twin"]) == [{"1": ["64_theirs"]}]  # draw 0


def test_a_draw_of_a_control_has_one_sae(config):
    study = load(config)
    names = ["r", "r.draw1", "r.draw2"]
    assert [passes(study.models[name]) for name in names] == [
        [{"1": ["64", "64_t"], "2": []}],
        [{"1": ["64", "64_t.draw1"], "2": []}],
        [{"1": ["64", "64_t.draw2"], "2": []}],
    ]
    assert [study.sae_entry(name, "64") for name in names] == ["s", "s.draw1", "s"]  # s has no third draw
    kept = {key: part for key, part in study.models["r"].items() if key not in ("passes", "saes")}
    assert all(study.models[name] | kept == study.models[name] for name in names)


def test_names_of_draws_lead_back_to_the_config(config):
    study = load(config)
    bare = {(model, width) for model, width, _ in (study.drawn(*place) for place in places(study))}
    assert bare == set(places(load(without_draws(config))))
    assert study.drawn("m", None) == ("m", None, 0)
    assert study.drawn("m", "64") == ("m", "64", 0)
    assert study.drawn("m", "64_s.draw1") == ("m", "64", 1)
    assert study.drawn("m", "64_t.draw3") == ("m", "64_t", 3)
    assert study.drawn("r.draw2", None) == ("r", None, 2)
    assert study.drawn("r.draw2", "64") == ("r", "64", 2)
    assert study.drawn("r.draw2", "64_t.draw2") == ("r", "64_t", 2)
    assert study.drawn("twin", "64_theirs") == ("twin", "64_theirs", 0)


def given(study):
    """The entries of saes, without the random ones of the match."""
    return [name for name in study.saes if not is_random(name)]


def passes(model):
    return [one for one in model["passes"] if not is_control(one)]


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


def test_a_match_has_random_saes_of_its_own(config):
    """Five on either side, in one: as sparse, on the texts of the match, in a pass that nothing else is in."""
    study = load(config)
    added = [name for name in study.saes if is_random(name)]
    assert added == [f"across.random-{side}" for side in "ab"]
    recipes = [study.saes[name]["train"] for name in added]
    assert {(one["k"], one["freeze"], *one["texts"]) for one in recipes} == {(5 * 4, "all", "d")}
    assert len({one["seed"] for one in recipes}) == len(added)
    assert study.models["m"]["passes"][-1] == {"1": ["320_across.random-a"]}
    assert study.models["r"]["passes"][-1] == {"1": ["320_across.random-b"]}
    assert not any(is_random(cell["width"]) for cell in study.sae_cells())
    config["matches"]["more"] = config["matches"]["across"]
    again = load(config)
    assert [again.saes[name] for name in added] == [study.saes[name] for name in added]
    assert again.models["m"]["passes"][:-1] == study.models["m"]["passes"]
    assert again.saes["more.random-a"]["train"]["seed"] not in {one["seed"] for one in recipes}


def test_the_same_sae_on_both_sides_has_the_same_random_weights(config):
    config["models"]["r"]["passes"] = [{1: ["64_theirs"]}]
    config["matches"]["across"]["b"]["width"] = "64_theirs"
    study = load(config)
    seeds = [study.saes[f"across.random-{side}"]["train"]["seed"] for side in "ab"]
    assert seeds[0] == seeds[1]


def test_random_saes_are_as_sparse_as_a_published_one(config):
    config["saes"]["s"] = {"release": "gpt2-small-res-jb", "id": "blocks.{layer}.hook_resid_pre"}
    config["models"]["m"]["passes"], config["models"]["r"]["passes"] = [{1: ["64", "64_t"]}], [{1: ["64_t"]}]
    study = load(config)
    l0 = releases.find(study.saes["s"], "1", "64")[1]
    assert saes.recipe(study, "m", "320_across.random-a")["k"] == (round(5 * l0) if l0 else 5 * 32)


def test_the_name_of_a_random_sae_is_refused(config):
    config["saes"]["mine.random-a"] = config["saes"]["s"]
    fails(lambda: load(config), "config key saes.mine.random-a", "random SAE of a match; rename it")


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
    assert [*study.models] == ["m", "r", "twin"] and given(study) == ["s", "t", "theirs"]
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
