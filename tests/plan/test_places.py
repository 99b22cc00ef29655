"""Which places a study looks into, and what their jobs read."""

import pytest
from refusals import fails
from tessera.plan import evidence, results


@pytest.fixture
def study(made, config):
    saes = {"s": {"train": {"texts": ["d", "e"], "tokens": 2000, "draws": 2}}}
    return made(saes=saes, evidence={"places": ["m/1/512"], "in_model": ["m/1/512/e"], "ids": {"m/1/512/d": [7, 3]}})


def test_a_name_is_the_beginning_of_places(study, made):
    assert [place["data"] for place in evidence.places(study)] == ["d", "e"]
    assert evidence.places(study, "in_model") == [{"model": "m", "layer": "1", "width": "512", "data": "e"}]
    everything = evidence.places(made(evidence={"places": ["m"]}))
    assert {(place["layer"], place["width"]) for place in everything} == {("1", "512"), ("1", "2k"), ("3", "512")}


def test_a_study_without_places_has_no_job_of_evidence(made):
    study = made()
    assert evidence.every(study, "latents") == evidence.writes(study) == evidence.abroad(study) == []


def test_the_other_draws_of_an_sae_are_its_seeds(study):
    files = evidence.seeds(study, "m", "1", "512", "d")
    assert len(files) == 2 and all("/width=512_s.draw1/" in file for file in files)


def test_a_study_that_takes_nothing_out_has_no_tables_of_it(study, made):
    found = results.outputs(made(evidence={"places": ["m/1/512"]}), "evidence_tables")
    assert "sufficiency" in found and not {"ablations", "harm", "ablated_answers"} & {*found}
    assert "ablations" in results.outputs(study, "evidence_tables")


def test_explanations_that_are_not_there_are_refused(made):
    saes = {"s": {"train": {"texts": ["d"], "tokens": 2000}, "explanations": "of-{layer}-{width}.csv"}}
    fails(lambda: made(saes=saes, evidence={"places": ["m/1/512"]}), "saes.s.explanations", "'of-1-512.csv' is no file")
    made(saes=saes)  # nothing asks for them


def test_neutral_texts_are_others_than_those_of_the_place(study):
    assert evidence.neutral(study, "m", "512", "d") == ["e"] and evidence.neutral(study, "m", "512", "e") == ["d"]


def test_ids_are_of_the_places_that_they_are_given_for(study):
    assert evidence.ids(study, "m", "1", "512", "d") == [3, 7] and evidence.ids(study, "m", "1", "512", "e") == []


def test_sources_of_scenarios_are_held_against_their_other_targets(study):
    assert evidence.targets(study, "t", "d", "m") == ["e"]
    assert [file.split("/")[2:4] for file in evidence.abroad(study)] == [["scenario=t", "source=d"]]


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (
            {"places": ["r/1/512"]},
            "evidence.places: 'r/1/512' names no SAE of a trained model; for example m/1/",
        ),
        (
            {"places": ["m/1/512"], "ids": {"m/1/512": [3, 512]}},
            "evidence.ids.m/1/512: 512 is no latent of m/1/512, which",
        ),
        ({"places": ["m/1/512/d"], "ids": {"m/1": [1]}}, "evidence.ids: 'm/1/512/e' is not in evidence.places"),
        ({"places": ["m"], "k": 0}, "evidence.k: 0 is less than the minimum of 1"),
        ({"places": [""]}, "evidence.places[0]: '' is not allowed"),
    ],
)
def test_wrong_sections_are_refused(made, section, reason):
    fails(lambda: made(evidence=section), f"config key {reason}")
