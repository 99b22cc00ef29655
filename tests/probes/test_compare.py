"""Two cells compared: against statsmodels, DeLong written out, and studies in which nothing differs."""

import numpy as np
import polars as pl
import pytest
from refusals import fails
from sklearn.metrics import f1_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from tessera.probes.compare import TAIL, Pair, _bootstrap, delong, differences, disagreements, mcnemar_exact

SETTINGS = {"resamples": 400, "seed": 0}
CLASSES = ["a", "b"]


def told(label_E, skill, seed):
    """Class probabilities that tell the label as well as `skill` says."""
    noise_E = np.random.default_rng(seed).normal(size=len(label_E))
    odds_E = np.exp(skill * (2 * label_E - 1) + noise_E)
    return np.stack([1 / (1 + odds_E), odds_E / (1 + odds_E)], axis=1)


def predictions(skill, seed, repeats=1, size=200, group=1):
    """The predictions of a cell; every repeat tests a fifth of the examples, drawn anew."""
    frames = []
    for repeat in range(repeats):
        example_E = np.sort(np.random.default_rng([7, repeat]).permutation(5 * size)[:size])
        label_E = np.random.default_rng(3).integers(2, size=5 * size)[example_E]
        probability_EC = told(label_E, skill, [seed, repeat])
        frames.append(
            pl.DataFrame(
                {
                    "repeat": [repeat] * size,
                    "split": ["test"] * size,
                    "example": pl.Series(example_E, dtype=pl.UInt32),
                    "id": [f"r{number}" for number in example_E],
                    "group": pl.Series(example_E // group, dtype=pl.UInt32),
                    "label": [CLASSES[label] for label in label_E],
                    "predicted": [CLASSES[label] for label in probability_EC.argmax(axis=1)],
                    "probability": probability_EC.tolist(),
                }
            )
        )
    return pl.concat(frames)


def pair(size=150, seed=0):
    label_E = np.random.default_rng(seed).integers(2, size=size)
    return Pair(label_E, np.arange(size), told(label_E, 1.0, [seed, 1]), told(label_E, 0.6, [seed, 2]))


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_is_tested_as_statsmodels_does(seed):
    one = pair(seed=seed)
    left_E, right_E = (said.argmax(axis=1) == one.label_E for said in (one.left_EC, one.right_EC))
    table = [[(left_E & right_E).sum(), (left_E & ~right_E).sum()], [(~left_E & right_E).sum(), 0]]
    found = mcnemar_exact(one, 0.95)
    assert found["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert (found["difference_low"] > 0 or found["difference_high"] < 0) == (found["p"] < 0.05)
    assert found["difference_low"] <= left_E.mean() - right_E.mean() <= found["difference_high"]


def test_accuracy_of_groups_that_count_twice_is_left_to_the_bootstrap():
    one = pair()
    assert mcnemar_exact(Pair(one.label_E, one.group_E // 3, one.left_EC, one.right_EC), 0.95) is None


@pytest.mark.parametrize("seed", range(3))
def test_roc_auc_is_tested_as_delong_does(seed):
    """DeLong, DeLong and Clarke-Pearson (1988), pair by pair."""
    one = pair(seed=seed)
    is_E = one.label_E == 1
    kernels = [(said[is_E, 1][:, None] > said[~is_E, 1]).astype(float) for said in (one.left_EC, one.right_EC)]
    area = [kernel.mean() for kernel in kernels]
    covariance = sum(
        np.cov([kernel.mean(axis=axis) for kernel in kernels]) / kernels[0].shape[1 - axis] for axis in (0, 1)
    )
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = delong(one, 0.95)
    half = (found["difference_high"] - found["difference_low"]) / 2
    assert half == pytest.approx(1.959964 * variance**0.5, rel=1e-5)
    assert (found["difference_low"] + found["difference_high"]) / 2 == pytest.approx(area[0] - area[1])


def test_differences_are_those_of_the_scores():
    left, right = predictions(1.0, 1), predictions(0.5, 2)
    found = differences(left, right, CLASSES, **SETTINGS)
    assert found["metric"].to_list() == ["macro_f1", "accuracy", "roc_auc", "average_precision"]
    assert found["test"].to_list() == ["bootstrap", "McNemar, exact", "DeLong", "bootstrap"]
    f1 = [f1_score(side["label"], side["predicted"], average="macro") for side in (left, right)]
    auc = [
        roc_auc_score(side["label"], side["probability"].list.get(1).to_numpy())
        for side in (left.with_columns(label=left["label"] == "b"), right.with_columns(label=right["label"] == "b"))
    ]
    for metric, (one, other) in (("macro_f1", f1), ("roc_auc", auc)):
        row = found.filter(metric=metric).row(0, named=True)
        assert (row["left"], row["right"]) == pytest.approx((one, other))
        assert row["difference"] == pytest.approx(one - other)
    assert (found["difference_low"] <= found["difference"]).all()
    assert (found["difference"] <= found["difference_high"]).all()


def test_several_repeats_have_a_row_together():
    found = differences(predictions(1.0, 1, 4), predictions(0.6, 2, 4), CLASSES, **SETTINGS)
    whole = found.filter(pl.col("repeat").is_null())
    assert found["repeat"].drop_nulls().unique().to_list() == [0, 1, 2, 3] and len(whole) == 4
    for row in whole.to_dicts():
        each = found.filter(pl.col("repeat").is_not_null(), metric=row["metric"])["difference"]
        assert row["difference"] == pytest.approx(each.mean()) and 0 <= row["agree"] <= 1
    assert set(whole["test"]) == {"bootstrap and training sets"}


def test_equal_skill_is_rarely_called_different():
    """40 comparisons of cells that are equally good: two rows in forty are wrong by chance."""
    wrong = dict.fromkeys(("macro_f1", "accuracy", "roc_auc", "average_precision"), 0)
    for seed in range(40):
        found = differences(predictions(0.8, [seed, 1]), predictions(0.8, [seed, 2]), CLASSES, **SETTINGS)
        for metric, p in found.select("metric", "p").iter_rows():
            wrong[metric] += p < 0.05
    assert max(wrong.values()) <= 6, wrong


def test_every_level_has_enough_resamples_in_its_tails(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "tessera.probes.compare._bootstrap",
        lambda pairs, resamples, seed: asked.append(resamples) or _bootstrap(pairs, 200, seed),
    )
    for level in (0.95, 0.999):
        differences(predictions(1, 1), predictions(1, 2), CLASSES, **SETTINGS, level=level)
    assert asked == [2 * TAIL / 0.05, pytest.approx(2 * TAIL / 0.001, abs=1)]


def test_resamples_in_parts_are_the_same(monkeypatch):
    both = [pair(60, seed) for seed in range(2)]
    whole = _bootstrap(both, 300, 0)
    monkeypatch.setattr("tessera.probes.compare.PART", 60 * 2 * 7)
    for metric, values_BR in _bootstrap(both, 300, 0).items():
        np.testing.assert_array_equal(values_BR, whole[metric])
        assert values_BR.shape == (301, 2)


def test_the_examples_on_which_two_cells_differ():
    left, right = predictions(1.0, 1), predictions(0.2, 2)
    examples = left.select("example", "id", text=pl.lit("text of ") + pl.col("id"))
    found = disagreements(left, right, examples)
    assert len(found) == (left["predicted"] != right["predicted"]).sum() > 10
    assert (found["left_predicted"] != found["right_predicted"]).all()
    assert (found["text"] == "text of " + found["id"]).all()
    assert found.select(pl.min_horizontal("left_probability", "right_probability").min()).item() >= 0.5


def test_cells_of_other_test_examples_are_not_compared():
    left = predictions(1.0, 1)
    fails(
        lambda: differences(left, left.head(150), CLASSES, **SETTINGS), "not of the same test examples", "200 and 150"
    )
