"""Which entries of saes share a cache of residuals, and that a further entry moves nobody's."""

import pytest
from tessera.plan import saes

PLACE = ("m", "1", "512")


def of(study):
    """What the rules ask of the SAE at PLACE: everything that could make it be trained anew."""
    model, layer, width = PLACE
    cache = saes.residuals(study, model, layer, width)
    texts = cache.rpartition("texts=")[2]
    return {
        "cache": cache,
        "examples": saes.training_examples(study, texts),
        "tokens": saes.tokens(study, texts),
        "hooks": saes.hooks(study, texts, model, **{"pass": "0"}),
        "recipe": saes.recipe(study, model, width),
        "folder": saes.trained_here(study, model, layer, width),
    }


def test_a_cache_is_of_a_pass(made):
    found = of(made())
    assert found["cache"].startswith("results/residuals/model=m/pass=0/texts=")
    assert saes.residuals(made(), "m", "3", "512").startswith("results/residuals/model=m/pass=1/texts=")
    assert found["examples"] == ["results/examples/data=d/examples.parquet"] and found["tokens"] == 2000
    assert found["hooks"] == {1: "resid_post"}


@pytest.mark.parametrize("train", [{}, {"seed": 5}, {"architecture": "jumprelu"}, {"steps": 7}], ids=str)
def test_a_new_entry_of_the_same_texts_above_an_old_one_moves_nothing(made, config, train):
    new = {"new": {"train": {"texts": ["d"], "tokens": 2000, **train}}}
    assert of(made(saes=new | config["saes"])) == of(made(saes=config["saes"] | new)) == of(made())


def test_entries_of_the_same_texts_share_a_cache_and_keep_their_recipes(made, edited, config):
    new = {"new": {"train": {"texts": ["d"], "tokens": 2000, "seed": 5}}}
    study = made(saes=new | config["saes"], models=edited("m", passes=[{1: [512, "512_new"]}]))
    assert saes.residuals(study, "m", "1", "512") == saes.residuals(study, "m", "1", "512_new")
    assert (saes.recipe(study, "m", "512")["seed"], saes.recipe(study, "m", "512_new")["seed"]) == (0, 5)
    trained = [saes.trained(study, "m", "1", width) for width in ("512", "512_new")]
    assert trained == [f"results/saes/model=m/layer=1/width={width}/saelens" for width in ("512", "512_new")]


@pytest.mark.parametrize("train", [{"texts": ["e"]}, {"texts": ["d", "e"]}, {"tokens": 2001}], ids=str)
def test_other_texts_or_tokens_have_a_cache_of_their_own(made, config, train):
    other = made(saes={"s": {"train": config["saes"]["s"]["train"] | train}})
    assert of(other)["cache"] != of(made())["cache"]
    assert of(other)["recipe"] == of(made())["recipe"]


def test_a_cache_holds_the_layers_that_train_on_its_texts(made, edited, config):
    new = {"new": {"train": {"texts": ["e"], "tokens": 2000}}}
    models = edited("m", passes=[{1: [512], 2: ["512_new"], 3: ["512", "512_new"]}], hook="mlp_out")
    study = made(saes=config["saes"] | new, models=models)
    texts = {
        width: saes.residuals(study, "m", layer, width).rpartition("=")[2]
        for layer, width in (("1", "512"), ("2", "512_new"))
    }
    hooks = {width: saes.hooks(study, some, "m", **{"pass": "0"}) for width, some in texts.items()}
    assert hooks == {"512": {1: "mlp_out", 3: "mlp_out"}, "512_new": {2: "mlp_out", 3: "mlp_out"}}


def test_a_borrowed_sae_is_its_owners(made, config):
    models = config["models"] | {"twin": {"tuned": {"from": "m", "data": "d"}, "passes": [{3: ["512_theirs"]}]}}
    study = made(models=models, saes=config["saes"] | {"theirs": {"of": "m"}})
    assert saes.trained_here(study, "twin", "3", "512_theirs") == "results/saes/model=m/layer=3/width=512/saelens"
    assert saes.files(study, "twin", "3", "512_theirs") == []  # of the user's own
    assert saes.recipe(study, "m", "512") == saes.recipe(made(), "m", "512")
    assert saes.qualities(study)[-1] == "results/saes/model=twin/layer=3/width=512_theirs/borrowed.parquet"
    assert saes.residuals(study, "twin", "3", "512_theirs").startswith("results/residuals/model=twin/pass=0/")
