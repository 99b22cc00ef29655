"""What Neuronpedia imports: each number of it is one of the study's."""

import gzip
import json

import numpy as np
import places
import polars as pl
import pytest
from tessera.evidence.reading import read_contexts
from tessera.exports.neuronpedia import Looked, Source, write_neuronpedia

LABELS = ["a", "b", "b", "a"] * 20
PLACE = {key: places.KEYS[key] for key in ("model", "layer", "width")}
ABOUT = {"hook": "resid_post", "neuronpedia": None}
WRITES = {
    "latent": [places.PLANTED],
    "promoted": [["rain"]],
    "promoted_logit": [[1.5]],
    "suppressed": [["moon"]],
    "suppressed_logit": [[-0.5]],
}


@pytest.fixture(scope="module")
def acts_ETW():
    acts_ETW = places.random_acts(len(LABELS), seed=3)
    places.plant(acts_ETW, np.array(LABELS) == "b")
    return acts_ETW


@pytest.fixture(scope="module")
def looked(tmp_path_factory, acts_ETW):
    place = places.make_place(tmp_path_factory.mktemp("looked"), LABELS, acts_ETW)
    shown = pl.DataFrame({"class": ["b", "a"], "nth": [1, 1], "latent": [places.PLANTED, 20]})
    return Looked("d", read_contexts(place, shown, [], 6)["contexts"], place.folders)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, looked):
    out = tmp_path_factory.mktemp("neuronpedia") / "sae"
    write_neuronpedia(out, PLACE, ABOUT, [looked], pl.DataFrame(WRITES), ["a-release", "an/id"])
    return out


def rows(file):
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def test_a_feature_has_how_often_and_how_strongly_it_fires(folder, acts_ETW):
    planted, other = rows(folder / "features/batch-0.jsonl.gz")
    acts = acts_ETW[:, :, places.PLANTED]
    assert (planted["modelId"], planted["layer"], planted["index"]) == ("m", "1-tessera-64", "7")
    assert planted["frac_nonzero"] == pytest.approx((acts > 0).mean())
    assert planted["maxActApprox"] == pytest.approx(acts.max())
    assert sum(planted["freq_hist_data_bar_heights"]) == (acts > 0).sum()
    assert len(planted["freq_hist_data_bar_heights"]) == len(planted["freq_hist_data_bar_values"])
    assert planted["pos_str"] == ["rain"] and planted["neg_values"] == [-0.5]
    assert other["index"] == "20" and "pos_str" not in other  # what it writes is not known


def test_an_activation_is_a_text_with_a_value_per_token(folder, acts_ETW, looked):
    found = rows(folder / "activations/batch-0.jsonl.gz")
    assert len(found) == len(looked.contexts.filter(pl.col("stratum").is_not_null()))
    assert len({row["id"] for row in found}) == len(found)
    for row in found:
        example = int(row["dataIndex"])
        values = acts_ETW[example, :, int(row["index"])]
        assert row["tokens"] == [f"w{example}x{token}" for token in range(places.TOKENS)]
        assert row["values"] == pytest.approx(values.tolist(), abs=1e-6)
        assert row["maxValue"] == max(row["values"]) and row["values"][row["maxValueTokenIndex"]] == row["maxValue"]
        assert row["binMin"] - 1e-5 <= row["maxValue"] <= row["binMax"] + 1e-5 and row["dataSource"] == "d"


def test_it_stands_under_its_release_model_and_source(folder):
    said = {name: json.loads((folder / f"{name}.jsonl").read_text()) for name in ("release", "model", "source")}
    assert said["source"]["id"] == "1-tessera-64" and said["source"]["modelId"] == said["model"]["id"] == "m"
    assert (said["source"]["saelensRelease"], said["source"]["saelensSaeId"]) == ("a-release", "an/id")


def test_the_same_bytes_again(folder, looked, tmp_path):
    write_neuronpedia(tmp_path / "again", PLACE, ABOUT, [looked], pl.DataFrame(WRITES), None)
    for name in ("features", "activations"):
        file = f"{name}/batch-0.jsonl.gz"
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_a_published_sae_keeps_its_name():
    source = Source.of(PLACE | {"layer": "6"}, {"hook": "resid_pre", "neuronpedia": "gpt2-small/6-res-jb"})
    assert (source.model, source.id) == ("gpt2-small", "6-res-jb")
