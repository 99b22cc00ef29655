"""The grid: what its labels mean and which cells it has."""

import pytest
from studies import study_of
from tessera.study import paths
from tessera.study.grid import parse_threshold, parse_width

MODELS = {
    "m": {"passes": [{"1": ["512", "2k"], "3": []}, {"3": ["512"], "1": ["4k"]}]},
    "control": {"passes": [{"3": ["512"]}]},
}
STUDY = study_of(models=MODELS)


@pytest.mark.parametrize(
    ("label", "latents"),
    [
        ("512", 512),
        ("1k", 1024),
        ("4k", 4096),
        ("16k", 16384),
        ("65k", 65536),
        ("131k", 131072),
        ("262k", 262144),
        ("524k", 524288),
        ("1m", 1048576),
    ],
)
def test_width(label, latents):
    assert parse_width(label) == latents


@pytest.mark.parametrize("label", ["42k", "21m", "100000001", "999999999m"])
def test_width_that_names_nothing(label):
    with pytest.raises(ValueError, match=label):
        parse_width(label)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("none", ("none", None)),
        ("0", ("fixed", 0.0)),
        ("1", ("fixed", 1.0)),
        ("0.25", ("fixed", 0.25)),
        ("1e-05", ("fixed", 1e-5)),
        ("q50", ("quantile", 0.5)),
        ("q99.5", ("quantile", 0.995)),
    ],
)
def test_threshold(text, meaning):
    kind, number = parse_threshold(text)
    assert (kind, number) == (meaning[0], pytest.approx(meaning[1]) if meaning[1] else meaning[1])


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "q", "q0", "q100", "q-5", "True", "None", "1;2", "1 ", "1/2"])
def test_threshold_that_does_not_parse(text):
    with pytest.raises(ValueError, match="does not parse"):
        parse_threshold(text)


def test_sae_cells_are_every_width_of_every_pass():
    cells = [tuple(cell.values()) for cell in STUDY.sae_cells()]
    assert cells == [
        ("m", 0, "1", "512"),
        ("m", 0, "1", "2k"),
        ("m", 1, "3", "512"),
        ("m", 1, "1", "4k"),
        ("control", 0, "3", "512"),
    ]
    assert list(next(STUDY.sae_cells())) == ["model", "number", "layer", "width"]


def test_layer_cells_are_every_layer_once():
    assert [tuple(cell.values()) for cell in STUDY.layer_cells()] == [("m", 0, "1"), ("m", 0, "3"), ("control", 0, "3")]


def test_pass_of():
    assert STUDY.pass_of("m", "3") == 0
    assert STUDY.pass_of("m", "3", "512") == 1
    assert STUDY.pass_of("m", "1", "4k") == 1
    with pytest.raises(KeyError):
        STUDY.pass_of("m", "2")


def test_short_names():
    path = "results/probes/model=m/layer=1/width=1k/data=d/pooling=sum/scores.parquet"
    assert paths.short_name(path) == "m/1/1k/d/sum"
    for place in ("m", "m/1", "/m/1/1k/", "m/1/1k/d/sum"):
        assert paths.is_within(path, place)
    for place in ("", "/", "m/1/1", "1k", "m/1/1k/d/sum/1.0"):
        assert not paths.is_within(path, place)
