"""Fine-tuning: it learns, it says the same again, and what it saves is a model."""

import numpy as np
import polars as pl
import pytest
import tiny
from tessera.base.errors import TesseraError
from tessera.models.tuning import _shuffles, tune

SETTINGS = {"max_tokens": 16, "batch": 8, "learning_rate": 3e-3, "seed": 0}


def examples(size=48):
    """The first word tells the label."""
    generator = np.random.default_rng(0)
    label = generator.integers(2, size=size)
    texts = [
        " ".join([("rain", "moon")[one], *generator.choice(tiny.WORDS, size=generator.integers(1, 8))]) for one in label
    ]
    return pl.DataFrame({"text": texts, "label": np.array(["wet", "dry"])[label]})


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_a_copy_learns_and_is_a_model_of_its_own(architecture, tmp_path, caplog):
    caplog.set_level("INFO", "tessera")
    base = tiny.save_model(architecture, tmp_path / "base")
    before = (base / "model.safetensors").read_bytes()
    tune(tiny.load(base), examples(), tmp_path / "tuned", steps=60, **SETTINGS)
    said = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records if "accuracy" in record.message]
    assert said[-1] > 0.9 > said[0]
    assert (base / "model.safetensors").read_bytes() == before
    state, other = tiny.load(tmp_path / "tuned").module.state_dict(), tiny.load(base).module.state_dict()
    assert state.keys() == other.keys()
    assert sum(not state[key].equal(other[key]) for key in state) > len(state) / 2
    assert (tmp_path / "tuned" / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    base = tiny.save_model("bert", tmp_path / "base")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tune(tiny.load(base), examples(), tmp_path / name, steps=3, **SETTINGS | {"seed": seed})
    first, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == again != other


def test_a_loss_that_is_not_finite_ends_in_one_line(tmp_path):
    base = tiny.save_model("llama", tmp_path / "base")
    with pytest.raises(TesseraError, match="lower learning_rate"):
        tune(tiny.load(base), examples(), tmp_path / "tuned", steps=40, **SETTINGS | {"learning_rate": 1e30})
    assert not (tmp_path / "tuned").exists()


def test_every_row_is_read_before_one_is_read_again():
    order = _shuffles(10, 25, seed=1)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert len(order) == 25
