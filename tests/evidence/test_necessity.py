"""What later layers lose: latents that they read, and latents that they merely carry on."""

import numpy as np
import places
import polars as pl
import pytest
from tessera.evidence.choice import SETS, span
from tessera.evidence.necessity import COMPUTED, WHOLE, necessity
from tessera.evidence.transfers import fires_abroad
from tessera.probes.task import Task
from tessera.results.claims import judge, of_evidence

LABELS = ["a", "b"] * 150
D = 12
SETS_OF = pl.DataFrame(
    [
        {"set": "nothing", "kind": "nothing"},
        {"set": "probe", "kind": "probe", "latents": [1]},
        {"set": "random.draw0", "kind": "random", "draw": 0, "latents": [2]},
        {"set": "random.draw1", "kind": "random", "draw": 1, "latents": [3]},
        {"set": "all", "kind": "all"},
    ],
    schema=SETS,
)
SPANS = {number: np.eye(D)[[number]] for number in (1, 2, 3)}


def task(labels=LABELS) -> Task:
    return Task(places.example_frame(labels), **places.SETTINGS)


def states_of(labels, read: bool):
    """Direction 1 has the label; the later layer (3) copies it to direction 5 where it is read."""
    generator = np.random.default_rng(0)
    noise_ED, sign_E = generator.standard_normal((len(labels), D)), np.where(np.array(labels) == "b", 2.0, -2.0)

    def states(number: int, layer: int) -> np.ndarray:
        plain_ED = noise_ED.copy()
        plain_ED[:, 1] += sign_E
        if number in SPANS:
            plain_ED -= (plain_ED @ SPANS[number].T) @ SPANS[number]
        elif SETS_OF["kind"][number] == "all":
            plain_ED[:] = 0
        if layer == 3 and read:
            plain_ED[:, 5] += plain_ED[:, 1]
        return plain_ED.astype(np.float32)

    return states


def drop(drops: pl.DataFrame, kind: str, layer: int, states: str, metric: str = "macro_f1") -> float:
    found = drops.filter(pl.col("of").is_null(), kind=kind, at_layer=layer, states=states, metric=metric)
    return found["drop"][0]


def verdict(needed: pl.DataFrame) -> str:
    rows = needed.with_columns(claim=pl.lit("necessary"), on=pl.lit("here"))
    return judge([], joined=of_evidence(rows))["verdict"][0]


def test_what_later_layers_read_is_necessary():
    drops, needed = necessity(task(), SETS_OF, SPANS, [1, 3], states_of(LABELS, read=True))
    assert drop(drops, "probe", 1, COMPUTED) == pytest.approx(0)  # nothing is computed yet
    assert drop(drops, "probe", 3, COMPUTED) > 0.3 and drop(drops, "probe", 3, WHOLE) > 0.3
    assert drop(drops, "random", 3, COMPUTED) == pytest.approx(0, abs=0.05)
    assert verdict(needed) == "holds"
    assert drops.filter(kind="random")["draws"].unique().to_list() == [2]


def test_a_shift_alone_makes_nothing_necessary():
    """Taken out, the latents shift every text alike: macro F1 falls, and nothing is lost."""
    states = states_of(LABELS, read=True)

    def shifted(number: int, layer: int) -> np.ndarray:
        return states(0, layer) + (30.0 if number == 1 else 0.0) * np.eye(D, dtype=np.float32)[5]

    drops, needed = necessity(task(), SETS_OF, SPANS, [3], shifted)
    assert drop(drops, "probe", 3, COMPUTED) > 0.3 and drop(drops, "probe", 3, COMPUTED, "roc_auc") == 0
    assert verdict(needed) == "undecided"


def test_what_later_layers_only_carry_on_is_not():
    drops, needed = necessity(task(), SETS_OF, SPANS, [1, 3], states_of(LABELS, read=False))
    assert drop(drops, "probe", 3, WHOLE) > 0.3  # the stream carries it on, and lacks it
    assert drop(drops, "probe", 3, COMPUTED) == 0
    assert verdict(needed) == "undecided"


def test_all_latents_have_no_complement():
    drops, _ = necessity(task(), SETS_OF, SPANS, [3], states_of(LABELS, read=True))
    assert drops.filter(kind="all")["states"].unique().to_list() == [WHOLE]


def test_every_class_is_measured():
    labels = ["a", "b", "c"] * 60
    drops, _ = necessity(task(labels), SETS_OF, SPANS, [3], states_of(labels, read=True))
    assert drops.filter(kind="probe", states=WHOLE, metric="roc_auc")["of"].to_list() == [None, "a", "b", "c"]


def test_shuffled_labels_make_nothing_necessary():
    for draw in range(20):
        labels = np.random.default_rng(draw).permutation(LABELS[:100]).tolist()
        states = states_of(["a"] * 100, read=True)
        _, needed = necessity(task(labels), SETS_OF, SPANS, [3], states)
        assert verdict(needed) != "holds"


def test_a_span_has_orthonormal_rows_and_no_more_than_there_are():
    rows_ND = np.array([[1.0, 0, 0], [2, 0, 0], [1, 1, 0]])
    basis_ND = span(rows_ND)
    assert basis_ND.shape == (2, 3) and np.allclose(basis_ND @ basis_ND.T, np.eye(2))


def test_latents_that_fire_for_their_class_elsewhere():
    shown = pl.DataFrame({"class": ["b", "a", "z"], "nth": [1, 1, 1], "latent": [4, 6, 4]})
    is_E = np.array(LABELS) == "b"
    generator = np.random.default_rng(0)
    largest_EL = np.stack([np.where(generator.random(300) < 0.9, is_E, ~is_E), generator.random(300) < 0.5], axis=1)
    rows = fires_abroad(task(), shown, largest_EL.astype(np.float32), [4, 6])
    test_E = np.arange(300) % 5 == 4
    first = largest_EL[test_E & is_E, 0].mean() - largest_EL[test_E & ~is_E, 0].mean()
    second = largest_EL[test_E & ~is_E, 1].mean() - largest_EL[test_E & is_E, 1].mean()
    assert rows["difference"][0] == pytest.approx((first + second) / 2) and rows["difference_low"][0] > 0


def test_latents_that_fire_for_all_of_their_class_and_no_other_hold():
    shown = pl.DataFrame({"class": ["b"], "nth": [1], "latent": [4]})
    rows = fires_abroad(task(), shown, (np.array(LABELS) == "b").astype(np.float32)[:, None], [4])
    assert rows["difference"][0] == 1 and 0 < rows["error"][0] < 0.1
    assert verdict(rows.with_columns(metric=pl.lit("firing"))) == "holds"


def test_data_sets_without_a_class_in_common_have_no_row():
    shown = pl.DataFrame({"class": ["z"], "nth": [1], "latent": [4]})
    assert fires_abroad(task(), shown, np.ones((300, 1), dtype=np.float32), [4]).is_empty()
