"""What of a model's entry decides what it computes, and what is only where it is used."""

import packed
import pytest
from tessera.plan import models

ASIDE = {"passes": [{1: []}, {3: [], 2: []}], "saes": "other", "data": ["d"]}
OTHER = {"other": {"train": {"texts": ["e"]}}}
DECIDES = {"dtype": "float16", "max_tokens": 7, "hook": "mlp_out"}


@pytest.mark.parametrize("key", ASIDE)
@pytest.mark.parametrize("model", ["m", "r", "twin"])
def test_an_identity_stays_when_passes_saes_or_data_change(made, edited, config, model, key):
    saes = config["saes"] | OTHER
    for name in ("m", model):
        changed = made(models=edited(name, **{key: ASIDE[key]}), saes=saes)
        assert models.identity(changed, model) == models.identity(made(saes=saes), model)


def test_an_identity_stays_when_tokens_are_kept_too_and_so_do_all_activations(made, edited):
    changed = made(models=edited("m", token_states=[3]))
    for ask in (models.identity, models.stored):
        assert [ask(changed, model) == ask(made(), model) for model in ("m", "r", "twin")] == [True] * 3


def test_an_identity_stays_when_more_is_known_of_the_model(made, edited, tmp_path):
    (tmp_path / "truth").touch()
    changed = made(models=edited("m", truth=str(tmp_path / "truth")))
    assert [models.identity(changed, model) == models.identity(made(), model) for model in ("m", "r")] == [True, True]


@pytest.mark.parametrize("key", DECIDES)
def test_an_identity_changes_with_what_is_computed(made, edited, key):
    changed = made(models=edited("m", **{key: DECIDES[key]}))
    for model in ("m", "r", "twin"):  # which read as it does
        assert models.identity(changed, model) != models.identity(made(), model)
    assert models.identity(made(seed=1), "r") != models.identity(made(), "r")


@pytest.mark.parametrize("key", ASIDE)
def test_the_base_of_a_twin_stays_when_its_passes_saes_or_data_change(made, edited, config, key):
    saes = config["saes"] | OTHER
    changed = made(models=edited("m", **{key: ASIDE[key]}), saes=saes)
    assert models.base(changed, "twin") == models.base(made(saes=saes), "twin")
    assert models.recipe(changed, "twin") == models.recipe(made(saes=saes), "twin")


def test_the_base_of_a_twin_changes_with_its_path_and_its_dtype(made, edited, tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "config.json").write_text('{"num_hidden_layers": 4}')
    for keys in ({"path": str(tmp_path / "moved")}, {"dtype": "float16"}):
        assert models.base(made(models=edited("m", **keys)), "twin") != models.base(made(), "twin")


def test_a_recipe_says_how_a_twin_is_tuned_and_not_from_what(made, edited):
    assert models.recipe(made(), "twin")["seed"] == 0 and "from" not in models.recipe(made(), "twin")
    changed = made(models=edited("twin", tuned={"from": "m", "data": "d", "steps": 3}))
    assert models.recipe(changed, "twin") == {**models.recipe(made(), "twin"), "steps": 3}


def test_the_folder_of_a_twin_is_that_of_its_control_too(made, config):
    study = made(models=config["models"] | {"drawn": {"control_of": "twin", "passes": [{1: []}]}})
    assert models.folder(study, "twin") == models.folder(study, "drawn") == "results/models/model=twin"
    assert models.folder(study, "m") == models.folder(study, "r") == models.files(study, "twin") == []
    assert models.base_weights(study, "twin") == models.weights(study, "m")


def test_the_files_of_a_folder_are_those_that_make_a_model(made, tmp_path):
    for name in ("model.safetensors", "tokenizer.json", "notes.md", "weights.bin"):
        (tmp_path / "model" / name).touch()
    expected = [str(tmp_path / "model" / name) for name in ("config.json", "model.safetensors", "tokenizer.json")]
    assert models.files(made(), "m") == models.files(made(), "r") == expected


def test_the_folder_of_a_gguf_file_is_made_once_for_it_its_controls_and_its_copies(made, edited, tmp_path):
    file, folder = packed.save_header(tmp_path / "m.gguf", positions=512), "results/unpacked/model=m"
    study = made(models=edited("m", path=str(file), sha256="0" * 64))
    assert models.folder(study, "m") == models.folder(study, "r") == models.base_folder(study, "twin") == folder
    assert models.folder(study, "twin") == "results/models/model=twin"
    assert models.files(study, "m") == models.files(study, "r") == [str(file)]
    assert models.packed(study, "m") == {"path": str(file), "sha256": "0" * 64}
    assert models.base_folder(made(), "twin") == models.folder(made(), "m") == []


def test_a_gguf_file_of_a_package_is_no_input(made, edited, tmp_path, monkeypatch):
    (tmp_path / "brought").mkdir()
    packed.save_header(tmp_path / "brought" / "m.gguf", positions=512)
    monkeypatch.syspath_prepend(tmp_path)
    study = made(models=edited("m", path="package:brought/m.gguf"))
    assert models.files(study, "m") == []
    assert models.folder(study, "m") == "results/unpacked/model=m"


@pytest.mark.parametrize("keys", [{"max_tokens": 7}, {"dtype": "float16"}, {"passes": [{1: []}]}])
def test_a_gguf_file_is_not_unpacked_again_when_its_model_is_run_otherwise(made, edited, tmp_path, keys):
    path = str(packed.save_header(tmp_path / "m.gguf", positions=512))
    study, other = made(models=edited("m", path=path)), made(models=edited("m", path=path, **keys))
    assert models.packed(study, "m") == models.packed(other, "m")
