"""The table of latents: a planted one is first in every ranking, and contributions add up to the decision."""

import json

import numpy as np
import places
import polars as pl
import pytest
from refusals import fails
from safetensors.numpy import save_file
from tessera.evidence import latents as module
from tessera.evidence.reading import Place, read_sets, weigh
from tessera.features.pooling import read_features

LABELS = ["a", "b", "b", "a"] * 50
ASKED = {"latents": 3, "ids": [5]}


@pytest.fixture(scope="module")
def acts_ETW() -> np.ndarray:
    acts_ETW = places.random_acts(len(LABELS), seed=0)
    places.plant(acts_ETW, np.array(LABELS) == "b")
    return acts_ETW


@pytest.fixture(scope="module")
def place(tmp_path_factory, acts_ETW) -> Place:
    return places.make_place(tmp_path_factory.mktemp("place"), LABELS, acts_ETW)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    file = tmp_path_factory.mktemp("decoder") / "decoder.safetensors"
    return written(file)


def written(file, **about):
    """A decoder that says `about` of itself."""
    said = json.dumps({"hook": "resid_post", "why_not": None, "in_stream": True} | about)
    save_file({"W_dec": np.ones((places.WIDTH, places.D), dtype=np.float32)}, file, metadata={"tessera": said})
    return file


@pytest.fixture(scope="module")
def found(place) -> dict[str, pl.DataFrame]:
    return weigh(place, **ASKED)


def test_a_planted_latent_is_first_in_every_ranking(found):
    planted = found["latents"].filter(pl.col("class") == "b", latent=places.PLANTED).row(0, named=True)
    assert [planted[f"rank_{by}"] for by in ("roc_auc", "contribution", "absolute_contribution")] == [1, 1, 1]
    assert planted["roc_auc"] > 0.9 and planted["roc_auc_low"] > 0.8
    assert found["shown"].filter(pl.col("class") == "b", nth=1)["latent"].to_list() == [places.PLANTED]


def test_contributions_add_up_to_the_decision(place, found):
    decision = place.decision()
    matrix_EK = decision.matrix(read_features(place.pooled(decision), place.width))
    test_E = place.task.split_E == "test"
    mean = decision.probe.decisions(matrix_EK[test_E]).mean()
    sums = dict(found["latents"].group_by("class").agg(pl.col("contribution").sum()).iter_rows())
    assert sums["b"] + decision.probe.intercept_C[0] == pytest.approx(mean, abs=1e-5)
    assert sums["a"] == pytest.approx(-sums["b"])


def test_shares_and_activations_are_those_of_the_test_texts(place, found, acts_ETW):
    test_E, is_E = place.task.split_E == "test", np.array(LABELS) == "b"
    for row in found["latents"].filter(pl.col("class") == "b").sample(8, seed=0).iter_rows(named=True):
        mine_ET = acts_ETW[test_E & is_E, :, row["latent"]]
        others_ET = acts_ETW[test_E & ~is_E, :, row["latent"]]
        assert row["firing_texts"] == pytest.approx((mine_ET > 0).any(axis=1).mean())
        assert row["firing_texts_others"] == pytest.approx((others_ET > 0).any(axis=1).mean())
        assert row["firing_tokens"] == pytest.approx((mine_ET > 0).mean())
        assert row["largest_activation"] == pytest.approx(mine_ET.max())
        assert row["mean_activation"] == pytest.approx(mine_ET[mine_ET > 0].mean(), rel=1e-5)


def test_blocks_of_columns_make_no_difference(place, found, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 50)
    assert weigh(place, **ASKED)["latents"].equals(found["latents"])


def test_every_latent_that_fires_is_there(found, place, acts_ETW):
    fires_W = (acts_ETW[place.task.split_E == "test"] > 0).any(axis=(0, 1))
    assert set(found["latents"]["latent"]) == set(np.flatnonzero(fires_W).tolist())


def test_sets_are_the_top_ones_and_others_that_fire_as_often(place, decoder):
    sets = {row["set"]: row for row in read_sets(place, decoder, k=4, draws=2).iter_rows(named=True)}
    assert list(sets) == [
        *("nothing", "probe", "class.a", "class.b"),
        *("random.draw0", "random.draw1"),
        "difference",
        "all",
    ]
    assert places.PLANTED in sets["probe"]["latents"] and places.PLANTED in sets["class.b"]["latents"]
    assert places.PLANTED not in sets["class.a"]["latents"]
    for draw in ("random.draw0", "random.draw1"):
        assert len(sets[draw]["latents"]) == 4 and not {*sets[draw]["latents"]} & {*sets["probe"]["latents"]}
    direction_ND = np.array(sets["difference"]["directions"])
    assert direction_ND.shape == (1, places.D) and np.linalg.norm(direction_ND) == pytest.approx(1)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"hook": "z", "in_stream": False}, "it reads z, which later layers do not have"),
        ({"why_not": "it is rare"}, "it is rare"),
    ],
)
def test_latents_that_cannot_be_taken_out_are_refused_before_a_model_runs(place, tmp_path, about, reason):
    file = written(tmp_path / "decoder", **about)
    fails(lambda: read_sets(place, file, k=4, draws=2), "evidence.in_model", "m/1/64/d cannot be acted on", reason)


def test_random_sets_are_as_large_as_that_of_the_probe(place, decoder):
    sets = read_sets(place, decoder, k=60, draws=2)
    sizes = sets.filter(pl.col("kind").is_in(["probe", "random"]))["latents"].list.len()
    assert sizes.n_unique() == 1 and sizes[0] > 20


def test_a_class_that_the_test_split_lacks_has_no_rank(tmp_path):
    examples = places.example_frame(LABELS).with_columns(
        split=pl.when((pl.col("label") == "b") & (pl.col("split") == "test")).then(pl.lit("train")).otherwise("split")
    )
    place = places.make_place(tmp_path, LABELS, places.random_acts(len(LABELS), seed=9), examples=examples)
    found = weigh(place, **ASKED)["latents"]
    assert found["roc_auc"].null_count() == found["rank_roc_auc"].null_count() == len(found)


def test_a_perfect_latent_is_not_certain(tmp_path):
    acts_ETW = places.random_acts(len(LABELS), seed=9)
    acts_ETW[:, :, 3] = (np.array(LABELS) == "b")[:, None] * np.random.default_rng(0).random((len(LABELS), 1))
    found = weigh(places.make_place(tmp_path, LABELS, acts_ETW), **ASKED)["latents"]
    row = found.filter(pl.col("class") == "b", latent=3).row(0, named=True)
    assert row["roc_auc"] == 1 and 0.8 < row["roc_auc_low"] < 0.9  # 20 texts of the class: 3 / 20 may be told otherwise
