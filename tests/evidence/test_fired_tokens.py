"""Tokens that latents fire on: rates, and histograms of activations by class."""

import numpy as np
import places
import pytest
from tessera.evidence.reading import Place
from tessera.evidence.tokens import BINS, histograms, neutral_rate, peaks
from tessera.study import paths

LABELS = ["a", "b", "b", "c"] * 15
ONCE, NEVER, SIGNED = 11, 12, 13


@pytest.fixture(scope="module")
def acts_ETW() -> np.ndarray:
    acts_ETW = places.random_acts(len(LABELS), seed=4)
    acts_ETW[:, :, [ONCE, NEVER]] = 0
    acts_ETW[7, 2, ONCE] = 3
    acts_ETW[:, :3, SIGNED] *= -1
    return acts_ETW


@pytest.fixture(scope="module")
def place(tmp_path_factory, acts_ETW) -> Place:
    return places.make_place(tmp_path_factory.mktemp("tokens"), LABELS, acts_ETW)


@pytest.fixture(scope="module")
def file(place):
    return place.folders[0] / paths.LATENTS.format(**places.KEYS)


def test_the_rate_on_neutral_tokens_counts_all_of_them(file):
    once, twice = (neutral_rate([file] * times, [places.PLANTED, 3]) for times in (1, 2))
    assert once.tolist() == twice.tolist()


def test_peaks_are_sizes_and_ranges_have_signs(file, acts_ETW):
    largest_EL, range_2L = peaks([file], [SIGNED, NEVER], len(LABELS))
    assert largest_EL[:, 0].tolist() == np.abs(acts_ETW[:, :, SIGNED]).max(axis=1).tolist()
    assert range_2L[:, 0].tolist() == [acts_ETW[:, :, SIGNED].min(), acts_ETW[:, :, SIGNED].max()]
    assert range_2L[:, 1].tolist() == [np.inf, -np.inf]


def test_histograms_count_every_activation_once_in_its_class(place, file, acts_ETW):
    latents = [20, ONCE, NEVER, SIGNED]
    found = histograms(place.task, [file], latents, peaks([file], latents, len(LABELS))[1])
    assert found["latent"].unique(maintain_order=True).to_list() == [20, ONCE, SIGNED]
    for (latent, name), rows in found.group_by("latent", "class"):
        of_data = acts_ETW[:, :, latent][acts_ETW[:, :, latent] != 0]
        of_class = acts_ETW[np.array(LABELS) == name, :, latent]
        counts_B, edges_B = np.histogram(of_class[of_class != 0], BINS, (of_data.min(), of_data.max()))
        assert rows["tokens"].to_list() == counts_B.tolist()
        assert [*rows["low"], rows["high"][-1]] == pytest.approx(edges_B.tolist())
    assert len(found) == 3 * len(place.task.classes) * BINS
    assert found.filter(latent=ONCE)["tokens"].sum() == 1
