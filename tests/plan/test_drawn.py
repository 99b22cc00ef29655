"""What is drawn several times, in the plan: splits in one job, controls and SAEs in one each; nothing else moves."""

import pytest
from refusals import fails
from tessera.plan import cells, data, models, named, saes
from tessera.study import paths


@pytest.fixture
def drawn(made, edited, config):
    """The small study with three draws of its control, and two of its SAEs."""
    train = {"train": {**config["saes"]["s"]["train"], "draws": 2}}
    return made(models=edited("r", draws=3), saes={"s": train})


def test_each_draw_of_a_control_has_weights_of_its_own(drawn, made):
    names = ["r", "r.draw1", "r.draw2"]
    identities = [models.identity(drawn, name) for name in names]
    assert [one["seed"] for one in identities] == [0, 1000, 2000]
    assert [one["name"] for one in identities] == names
    assert all(one["spec"] == identities[0]["spec"] for one in identities)
    assert [models.identity(drawn, name) for name in ("m", "r", "twin")] == [
        models.identity(made(), name) for name in ("m", "r", "twin")
    ]
    assert [models.weights(drawn, name) for name in names] == [
        f"results/weights/model={name}/weights.json" for name in names
    ]
    assert all(models.files(drawn, name) == models.files(drawn, "m") for name in names)


def test_each_draw_is_run_on_every_shard(drawn, made):
    one_control = 3 + 1
    found = cells.every_shard(drawn, paths.ACTIVATIONS)
    assert len(found) == len({*found}) == len(cells.every_shard(made(), paths.ACTIVATIONS)) + 2 * one_control


def test_each_draw_of_an_sae_is_trained_from_a_seed_of_its_own_on_the_same_cache(drawn, made):
    recipes = [saes.recipe(drawn, "m", width) for width in ("512", "512_s.draw1")]
    assert [recipe["seed"] for recipe in recipes] == [0, 1000] and "draws" not in recipes[0]
    assert {**recipes[1], "seed": 0} == recipes[0] == saes.recipe(made(), "m", "512")
    caches = {saes.residuals(drawn, "m", "1", width) for width in ("512", "512_s.draw1", "2k_s.draw1")}
    assert caches == {saes.residuals(made(), "m", "1", "512")}
    texts = caches.pop().rpartition("=")[2]
    assert saes.hooks(drawn, texts, "m", **{"pass": "0"}) == {1: "resid_post"}
    folder = "results/saes/model=m/layer=1/width=512_s.draw1/saelens"
    assert saes.trained_here(drawn, "m", "1", "512_s.draw1") == folder
    assert saes.cells(drawn, "m", **{"pass": "0"}) == [
        [1, width] for width in ("512", "512_s.draw1", "2k", "2k_s.draw1")
    ]


def test_a_draw_of_a_control_trains_the_sae_of_that_draw(drawn):
    seeds = [saes.recipe(drawn, name, "512")["seed"] for name in ("r", "r.draw1", "r.draw2")]
    assert seeds == [0, 1000, 0]
    assert len({saes.residuals(drawn, name, "1", "512") for name in ("r", "r.draw1", "r.draw2")}) == 3


def test_jobs_of_a_study_with_draws(drawn):
    qualities = saes.qualities(drawn)
    assert len(qualities) == len({*qualities}) == 3 * 2 + 3  # three widths of m twice, one of each control
    counts = {name: len(cells.every_cell(drawn, "scores", name)) for name in cells.asked(drawn)}
    assert counts == {"sae": (3 * 2 + 3) * 2 * 12, "hidden": (2 + 3 + 1) * 2 * 2, "tfidf": 2, "length": 2}


def test_a_borrowed_sae_is_that_of_draw_0(made, config):
    twin = {"tuned": {"from": "m", "data": "d"}, "passes": [{3: ["512_theirs"]}]}
    train = {"train": {**config["saes"]["s"]["train"], "draws": 2}}
    study = made(models=config["models"] | {"twin": twin}, saes={"s": train, "theirs": {"of": "m"}})
    assert saes.cells(study, "twin", **{"pass": "0"}) == [[3, "512_theirs"]]
    assert saes.trained(study, "twin", "3", "512_theirs") == "results/saes/model=m/layer=3/width=512/saelens"


def test_a_split_is_drawn_anew_unless_it_is_given_or_a_model_has_learnt_its_labels(made, config):
    datasets = config["datasets"] | {"own": {"path": "own.csv", "split": "part"}, "free": {"path": "free.csv"}}
    study = made(repeats=4, datasets=datasets)
    assert {name: data.repeats(study, name) for name in datasets} == {"d": 1, "e": 4, "own": 1, "free": 4}
    assert {data.repeats(made(datasets=datasets), name) for name in datasets} == {1}
    assert cells.every_cell(study, "scores") == cells.every_cell(made(datasets=datasets), "scores")


def test_of_several_draws_the_first_is_exported(drawn):
    assert not [file for file in named.export_cells(drawn, "best,d") if ".draw" in file]
    further = next(file for file in cells.every_cell(drawn, "scores", "sae") if "width=512_s.draw1" in file)
    fails(lambda: named.exports(drawn, paths.short_name(further)), "a further draw of its SAE or model; name the first")
