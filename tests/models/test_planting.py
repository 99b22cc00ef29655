"""The planted world: hidden states are the sums that they are said to be, and labels the functions of them."""

import filecmp
import json

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from sae_lens.synthetic import FeatureDictionary
from safetensors import safe_open
from tessera.models.forward import catch
from tessera.models.planting import World, plant
from tessera.models.text import tokenise

# Fewer directions than dimensions and no noise, so that what a word fires can be solved for.
WORLD = World(directions=24, dimensions=32, words=512, firing=(0.03, 0.06), noise=0, length=6, texts=200)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "planted"
    plant(folder, WORLD)
    return folder


@pytest.fixture(scope="module")
def model(planted):
    return tiny.load(planted / "model")


@pytest.fixture(scope="module")
def truth(planted):
    with safe_open(planted / "truth.safetensors", "np") as file:
        return file.get_tensor("directions"), json.loads(file.metadata()["made_by"])


@pytest.fixture(scope="module")
def acts(model, truth):
    """How strongly each word fires each direction, solved for."""
    bias_D = FeatureDictionary(WORLD.directions, WORLD.dimensions, bias=True, seed=WORLD.seed).bias.detach().numpy()
    state_VD = model.module.get_input_embeddings().weight.detach().numpy()
    acts_VF = (state_VD - bias_D) @ np.linalg.pinv(truth[0])
    return {model.tokenizer.convert_ids_to_tokens(number): acts_VF[number] for number in range(2, len(acts_VF))}


def test_a_word_is_a_sparse_sum_of_directions(acts):
    acts_VF = np.array([*acts.values()])
    fires_VF = acts_VF > 1e-3
    assert np.abs(acts_VF[~fires_VF]).max() < 1e-4 and acts_VF[fires_VF].mean() == pytest.approx(1, abs=0.05)
    low, high = WORLD.firing
    assert low / 2 < fires_VF.mean(axis=0).min() and fires_VF.mean(axis=0).max() < 2 * high
    together = np.corrcoef(fires_VF.T)
    assert together[10, 11] > 0.3 > np.abs(together[:10, :10] - np.eye(10)).max()


def test_a_hidden_state_is_that_of_its_word_whatever_stands_around_it(model, planted):
    texts = pl.read_csv(planted / "one.csv")["text"].head(20).to_list()
    tokens = tokenise(model, texts, 32)
    caught = catch(model, tokens, np.arange(20), {0: "resid_post"})
    state_VD = model.module.get_input_embeddings().weight.detach()
    for row, ids in enumerate(tokens.ids):
        assert model.tokenizer.convert_ids_to_tokens(ids) == texts[row].split()
        assert np.array_equal(caught.states[0][row, : len(ids)].numpy(), state_VD[ids].numpy())
    assert caught.content_BT[:, : WORLD.length].all()


def label(data, fires_F):
    """By hand, as the docstrings say it."""
    match data:
        case "one":
            return "with" if fires_F[0] else "without"
        case "topics":
            return "sea" if fires_F[1] or fires_F[2] or fires_F[3] else "sky"
        case "xor":
            return "one" if fires_F[7] != fires_F[8] else "both or none"
        case "twin":
            return "with" if fires_F[10] else "without"


def test_labels_are_functions_of_what_the_words_of_a_text_fire(planted, acts, truth):
    assert [*truth[1]] == ["one", "topics", "xor", "twin"]
    for data in truth[1]:
        rows = pl.read_csv(planted / f"{data}.csv")
        fires_EF = np.array([[acts[word] > 1e-3 for word in text.split()] for text in rows["text"]]).any(axis=1)
        assert rows["label"].to_list() == [label(data, fires_F) for fires_F in fires_EF]
        sizes = sorted(rows.group_by("label", "split").len()["len"])
        assert sizes == ([24, 24, 74, 74] if data == "xor" else [25, 25, 75, 75])
        if data == "topics":
            assert (fires_EF[:, 1:4].any(axis=1) != fires_EF[:, 4:7].any(axis=1)).all()
        if data == "xor":  # neither direction alone tells the classes apart
            of_C = {name: (rows["label"] == name).to_numpy() for name in rows["label"].unique()}
            assert {fires_EF[is_E, one].mean() for is_E in of_C.values() for one in (7, 8)} == {0.5}


@pytest.mark.parametrize("seed", [0, 1000])
@pytest.mark.parametrize("draw", [torch.rand, torch.randn])
def test_what_a_study_draws_from_its_seed_is_no_direction(truth, seed, draw):
    rows_FD = draw(truth[0].shape, generator=torch.Generator().manual_seed(seed)).numpy()
    rows_FD -= rows_FD.mean()
    cosine_F = (rows_FD * truth[0]).sum(axis=1) / np.linalg.norm(rows_FD, axis=1)
    assert np.abs(cosine_F.mean()) < 4 / np.sqrt(truth[0].size)


def test_test_texts_have_words_of_their_own(planted, truth):
    for data in truth[1]:
        rows = pl.read_csv(planted / f"{data}.csv")
        words = {split: {*" ".join(rows.filter(split=split)["text"]).split()} for split in ("train", "test")}
        assert len(words["test"]) > 50 and not words["train"] & words["test"]


def test_the_same_world_twice_is_the_same_bytes(planted, tmp_path):
    plant(tmp_path / "again", WORLD)
    files = [str(file.relative_to(planted)) for file in planted.rglob("*") if file.is_file()]
    assert len(files) >= 8 and not any(filecmp.cmpfiles(planted, tmp_path / "again", files, shallow=False)[1:])
