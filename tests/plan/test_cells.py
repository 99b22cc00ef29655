"""Shards and cells of a small study, counted by hand."""

import pytest
from tessera.plan import cells, models, saes, transfers
from tessera.study import paths

SHARD = "results/activations/model=m/data={}/pass={}/shard={}"


def test_shards_are_ranges_of_shard_size(made):
    assert list(cells.shards(made(), "d")) == [0, 1, 2]
    assert list(cells.shards(made(), "e")) == [0]
    assert list(cells.shards(made(shard_size=25), "d")) == [0]


def test_every_model_is_run_in_each_pass_on_each_shard(made):
    found = cells.every_shard(made(), paths.ACTIVATIONS)
    assert len(found) == len({*found}) == 2 * (3 + 1) + (3 + 1) + (3 + 1)
    assert found[:4] == [SHARD.format("d", 0, shard) for shard in range(3)] + [SHARD.format("d", 1, 0)]


def test_a_layer_is_in_the_shards_of_its_pass(made):
    assert cells.shards_of(made(), "d", "m", "3", "512") == [SHARD.format("d", 1, shard) for shard in range(3)]
    assert cells.shards_of(made(), "e", "m", "1") == [SHARD.format("e", 0, 0)]


COUNTS = {"sae": 4 * 2 * (2 * 3 * 2), "hidden": 4 * 2 * 2, "tfidf": 2 * 1, "length": 2}


def test_cells_of_every_kind(made):
    study = made()
    assert cells.asked(study) == [*COUNTS]  # there are no images
    assert {name: len(cells.every_cell(study, "scores", name)) for name in COUNTS} == COUNTS
    whole = cells.every_cell(study, "scores")
    assert len({*whole}) == len(whole) == sum(COUNTS.values())
    assert whole[0] == (
        "results/probes/features=sae/model=m/layer=1/width=512/data=d/pooling=sum/threshold=none/selection=none/"
        "probe=logistic/scores.parquet"
    )
    assert whole[-1] == "results/probes/features=length/data=e/probe=logistic/scores.parquet"
    assert len(cells.with_latents(study, "coefficients")) == COUNTS["sae"]


def test_tokens_are_kept_and_read_where_a_model_says_so_and_its_control_does_not(made, edited):
    study = made(models=edited("m", token_states=[3, 1], passes=[{1: [512, "2k"], 3: []}]))
    assert [*cells.places(study, "tokens")] == [
        ({"model": "m", "layer": layer}, data) for layer in ("3", "1") for data in ("d", "e")
    ]
    assert cells.probes_of(study, "tokens") == ["attention"]
    assert cells.environment(study, "tokens", "attention") == "exports"
    found = cells.every_cell(study, "scores", "tokens")
    assert len(found) == 2 * 2 * 2 and cells.every_cell(study, "coefficients", "tokens") == []
    assert found[0] == (
        "results/probes/features=tokens/model=m/layer=3/data=d/pooling=heads1/probe=attention/scores.parquet"
    )
    shards = [paths.TOKEN_STATES.format(model="m", data="d", shard=shard) for shard in range(3)]
    assert cells.inputs(study, "tokens", "d", model="m", layer="1") == shards
    assert cells.every_input(study, "tokens") == [*shards, paths.TOKEN_STATES.format(model="m", data="e", shard=0)]
    assert models.token_layers(study, "m") == [1, 3]
    assert saes.cells_along(study, "m") == [[1, "512"], [1, "2k"]]  # the order does not matter: each is at its layer
    assert cells.every_input(made(), "tokens") == cells.every_input(study, "embeddings") == []


def test_a_kind_that_nobody_asks_for_has_no_cell(made):
    study = made(baselines={"hidden": ["mean"], "tfidf": [], "length": False})
    assert cells.asked(study) == ["sae", "hidden"]


def test_logistic_regressions_alone_are_fitted_on_the_gpu_that_a_config_asks_for(made):
    study = made(probe={"device": "cuda"}, probes={"lda": ["hidden"]})
    assert [cells.rule(*fit) for fit in cells.fits(study) if cells.gpu(study, fit[1])] == [
        *("probe_sae", "probe_hidden", "probe_tfidf", "probe_length")
    ]
    assert (cells.group(study, "logistic"), cells.environment(study, "sae", "logistic")) == (None, "exports")
    for fit in [(study, "lda"), (made(), "logistic")]:
        assert (cells.device(*fit), cells.gpu(*fit), cells.group(*fit)) == ("cpu", {}, "cells")
    assert cells.environment(made(), "sae", "logistic") == cells.environment(study, "hidden", "lda") == "probes"


def test_a_model_is_probed_on_its_own_data(made, edited):
    study = made(models=edited("m", data=["d"]))
    assert len(cells.every_cell(study, "scores", "hidden")) == (2 * 1 + 2 * 2) * 2
    assert len(cells.every_shard(study, paths.ACTIVATIONS)) == 2 * 3 + 4 + 4


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("sae", 12, "model={model}/layer={layer}/width={width}/data={data}/pooling=sum/threshold=none/selection=none"),
        ("hidden", 2, "model={model}/layer={layer}/data={data}/pooling=mean"),
        ("tfidf", 1, "data={data}/pooling=word"),
        ("length", 1, "data={data}"),
    ],
)
def test_a_job_writes_every_part_of_its_cells(made, name, count, first):
    found = cells.outputs(made(), name, "logistic")
    assert len({*found}) == 3 * count
    parts = ("scores", "predictions", "coefficients")
    assert found[:3] == [f"results/probes/features={name}/{first}/probe=logistic/{part}.parquet" for part in parts]


def test_what_a_kind_reads(made):
    study = made()
    assert cells.inputs(study, "sae", "d", model="m", layer="1", width="2k") == [
        f"results/features/model=m/layer=1/width=2k/data=d/pooling={pooling}/features.parquet"
        for pooling in ("sum", "max")
    ]
    found = cells.inputs(study, "hidden", "d", model="m", layer="3")
    assert found == [SHARD.format("d", 1, shard) for shard in range(3)]
    assert cells.inputs(study, "tfidf", "d") == []


def test_cells_are_named_from_the_left(made):
    study = made()
    assert len(cells.named_cells(study, "sae/m/3")) == 2 * 12
    assert len(cells.named_cells(study, "hidden")) == COUNTS["hidden"]
    assert cells.named_cells(study, "/tfidf/e/word/") == [
        "results/probes/features=tfidf/data=e/pooling=word/probe=logistic/scores.parquet"
    ]


@pytest.mark.parametrize("wanted", ["m/3", "sae/m/3/2k", "sae/m/3/512/d/sum/none/none/logistic/x", "", "/", "sa"])
def test_a_name_of_no_cell_is_refused_with_one_that_is(made, wanted):
    with pytest.raises(ValueError) as raised:
        cells.named_cells(made(), wanted)
    assert str(raised.value).startswith(f"cell={wanted or '?'} names no cell; for example")
    example = str(raised.value).partition("--config cell=")[2]
    assert example == "sae/m/1/512/d/sum/none/none/logistic" and len(cells.named_cells(made(), example)) == 1


def test_transferred_cells(made):
    study = made()
    assert transfers.transferred(study) == ["sae", "hidden", "tfidf"]
    assert len(transfers.every_cell(study, "scores")) == 2 * (4 * (2 * 3) + 4 * 2 + 1)  # from d, and e's own
    assert transfers.spec(study, "t", "e") == {"sources": ["e"], "targets": ["e"], "translated": {}, "fractions": [1.0]}
    assert transfers.data(study, "t", "e") == ["e"]
    assert len(transfers.outputs(study, "sae")) == 2 * 3 * 2
    assert transfers.outputs(study, "hidden")[0] == (
        "results/transfer/features=hidden/scenario={scenario}/source={source}/model={model}/layer={layer}/pooling=mean/"
        "scores.parquet"
    )
    assert transfers.values(study, "sae") == {"pooling": ["sum", "max"], "threshold": ["none", "1.0", "q50"]}


def test_joint_is_a_source_of_its_own(made):
    study = made(transfers={"t": {"sources": ["d", "e"], "joint": True}})
    assert len(transfers.every_cell(study, "scores")) == 3 * (4 * (2 * 3) + 4 * 2 + 1)
    assert transfers.spec(study, "t", "joint")["sources"] == ["d", "e"]
    assert transfers.spec(study, "t", "e")["sources"] == ["e"]
    assert transfers.data(study, "t", "e") == ["e", "d"]


def test_a_model_that_does_not_read_all_data_of_a_scenario_is_not_transferred(made, edited):
    study = made(models=edited("m", data=["d"]))
    assert len(transfers.every_cell(study, "scores")) == 2 * (1 * (2 * 3) + 2 * 2 + 1)
