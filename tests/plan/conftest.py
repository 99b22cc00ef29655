"""A small study whose every cell can be counted by hand."""

import copy

import pytest
from tessera.study.config import load

SIZES = {"d": 25, "e": 7}  # of three shards and of one


@pytest.fixture
def config(tmp_path):
    """A model, its control and its tuned twin; two sets of texts; a scenario of one source."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"num_hidden_layers": 4}')
    return {
        "shard_size": 10,
        "models": {
            "m": {"path": str(tmp_path / "model"), "saes": "s", "passes": [{1: [512, "2k"]}, {3: [512]}]},
            "r": {"control_of": "m", "saes": "s", "passes": [{1: [512]}]},
            "twin": {"tuned": {"from": "m", "data": "d"}, "passes": [{3: []}]},
        },
        "saes": {"s": {"train": {"texts": ["d"], "tokens": 2000}}},
        "datasets": {"d": {"path": "d.csv"}, "e": {"path": "e.csv"}},
        "grid": {"poolings": ["sum", "max"], "thresholds": ["none", 1, "q50"], "selections": ["none", "anova-8"]},
        "baselines": {"hidden": ["mean", "last"], "tfidf": ["word"]},
        "transfers": {"t": {"sources": ["d"], "targets": ["d", "e"]}},
    }


@pytest.fixture
def made(config):
    """The study of the config with some sections edited: `made(seed=1, saes={…})`; its examples are counted."""

    def make(**sections):
        study = load(copy.deepcopy(config) | sections)
        study.sizes.update(SIZES)
        return study

    return make


@pytest.fixture
def edited(config):
    """The section models with some keys of one model changed: `edited("m", dtype="float16")`."""

    def edit(model, **keys):
        return {**config["models"], model: {**config["models"][model], **keys}}

    return edit
