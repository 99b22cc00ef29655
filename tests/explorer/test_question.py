"""The question that a page begins with."""

from studies import study_of
from tessera.explorer.summary import question


def test_models_without_saes_are_not_asked_for_sae_features():
    models = {"m": {"passes": [{"1": ["512"]}]}, "m-random": {"passes": [{"1": ["512"]}], "control_of": "m"}}
    models["encoder"] = {"passes": []}
    asked = question(study_of(models=models, datasets={"d": {}}))
    assert asked.startswith("Which SAE features of m classify d best")
