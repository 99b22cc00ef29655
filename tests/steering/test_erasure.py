"""What is left of a label: fresh probes, answers and harm by hand, and claims that need texts enough."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sources import SETTINGS, frame
from tessera.probes.task import Task
from tessera.results.claims import of_evidence
from tessera.steering.effects import CLAIMS
from tessera.steering.erasure import TURNED, claims, fresh, of_answers, of_harm
from tessera.steering.measures import DECIDED, KL, PERPLEXITY
from threadpoolctl import threadpool_limits

LAYERS, SIZE = [3, 5], 6


def task_of(texts: int, classes: int = 2, seed: int = 0) -> Task:
    label_E = np.random.default_rng(seed).permutation(np.arange(texts) % classes)
    return Task(frame([f"class {one}" for one in label_E], np.arange(texts)), **SETTINGS)


def states_of(task: Task, size: float, seed: int) -> np.ndarray:
    """Noise, and the label in its first dimensions, as far as `size`."""
    noise_ED = np.random.default_rng(seed).normal(size=(len(task.label_E), SIZE))
    return (noise_ED + size * np.eye(SIZE)[task.label_E]).astype(np.float32)


def constant(task: Task) -> np.ndarray:
    """States that are all alike."""
    return np.ones((len(task.label_E), SIZE), dtype=np.float32)


@threadpool_limits.wrap(limits=1)
def told(task: Task, states_ED: np.ndarray) -> np.ndarray:
    """Probabilities of the test split, C chosen by folds inside the training split: other code."""
    train_ED, label_E = states_ED[task.train_E].astype(np.float64), task.label_E[task.train_E]

    def fitted(C: float, rows: np.ndarray):
        mean_D, scale_D = train_ED[rows].mean(axis=0), train_ED[rows].std(axis=0)
        probe = LogisticRegression(C=C, class_weight="balanced", tol=1e-6, max_iter=10000)
        probe.fit((train_ED[rows] - mean_D) / scale_D, label_E[rows])
        return lambda some_ED: probe.predict_proba((some_ED - mean_D) / scale_D)

    def validated(C: float) -> float:
        folds = [task.fold_E == fold for fold in np.unique(task.fold_E)]
        said = [(label_E[out], fitted(C, ~out)(train_ED[out]).argmax(axis=1)) for out in folds]
        return np.mean([f1_score(*both, average="macro") for both in said])

    best = max(SETTINGS["C"], key=validated)  # the first of equals
    return fitted(best, np.ones(len(label_E), dtype=bool))(states_ED[task.split_E == "test"])


# Fresh probes.


def test_fresh_probes_are_fitted_on_what_is_left_at_every_layer_of_every_data_set():
    tasks = {"d": task_of(120), "o": task_of(120, classes=3, seed=1)}
    plain = {(data, layer): states_of(task, 1.5, layer) for data, task in tasks.items() for layer in LAYERS}
    left = {
        (data, layer): [states_of(task, 0.5, layer * 10 + draw) for draw in range(2)]
        for data, task in tasks.items()
        for layer in LAYERS
    }
    rows, scored = fresh(tasks, LAYERS, lambda *at: [plain[at]], lambda *at: left[at])
    assert [(row["data"], row["at_layer"], row["measure"]) for row in rows] == [
        (data, layer, metric) for data in "do" for layer in LAYERS for metric in ("macro_f1", "roc_auc")
    ]
    said = {at: [told(tasks[at[0]], states_ED) for states_ED in (plain[at], *left[at])] for at in plain}
    for row in rows:
        task, at = tasks[row["data"]], (row["data"], row["at_layer"])
        label_E = task.label_E[task.split_E == "test"]
        if row["measure"] == "macro_f1":
            values = [f1_score(label_E, told_EC.argmax(axis=1), average="macro") for told_EC in said[at]]
        elif at[0] == "d":
            values = [roc_auc_score(label_E, told_EC[:, 1]) for told_EC in said[at]]
        else:
            values = [roc_auc_score(label_E, told_EC, multi_class="ovr") for told_EC in said[at]]
        assert row["before"] == pytest.approx(values[0], abs=0.01)
        assert row["after"] == pytest.approx(np.mean(values[1:]), abs=0.01)
        assert row["drop"] == pytest.approx(row["before"] - row["after"])
        assert row["drop_low"] < row["drop"] < row["drop_high"]
        assert (row["draws"], row["examples"]) == (2, len(label_E))
        before, after = scored[(*at, row["measure"])]
        assert (before.value_DR.mean(), after.value_DR.mean()) == (row["before"], row["after"])
        assert (before.value_DR.shape, after.value_DR.shape) == ((1, 1), (2, 1))


# Answers and harm.


def of_prompts(odds: dict[int, list[float]]) -> pl.DataFrame:
    """Answers no and yes, by variant; `odds` are of yes."""
    rows = [
        (variant, f"p{number}", [0.0, float(one)], ["no", "yes"], None)
        for variant, some in odds.items()
        for number, one in enumerate(some)
    ]
    schema = {"variant": pl.Int64, "id": pl.String, "log_probability": pl.List(pl.Float64)}
    schema |= {"names": pl.List(pl.String), "right": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def interval(value_DI: np.ndarray, group_I: list[int] | None = None) -> tuple[float, float]:
    """Of the mean over draws and prompts: groups of prompts, and draws, each with its degrees of freedom."""
    some_I = value_DI.mean(axis=0)
    u_G = np.bincount(group_I or range(len(some_I)), weights=(some_I - some_I.mean()) / len(some_I))
    parts = [((u_G**2).sum() * len(u_G) / (len(u_G) - 1), (u_G**2).sum() ** 2 / (u_G**4).sum())]
    if len(value_DI) > 1:
        parts.append((value_DI.mean(axis=1).var(ddof=1) / len(value_DI), len(value_DI) - 1))
    parts = [(variance, freedom) for variance, freedom in parts if variance > 1e-20]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    return stats.t.interval(0.95, freedom, loc=some_I.mean(), scale=np.sqrt(variance))


@pytest.mark.parametrize("draws", [1, 3])
def test_answers_before_and_after_by_hand(draws):
    generator = np.random.default_rng(0)
    plain_I, erased_DI = generator.normal(size=12), generator.normal(size=(draws, 12)) / 2
    group_I = [number // 2 for number in range(12)]
    groups = pl.DataFrame({"id": [f"p{number}" for number in range(12)], "group": group_I})
    erased = of_prompts(dict(enumerate(erased_DI)))
    rows = {row["measure"]: row for row in of_answers(of_prompts({0: plain_I}), erased, groups, "yes")}
    both = {
        "answers": (np.tile(plain_I, (draws, 1)), erased_DI),
        DECIDED: (np.tile(np.abs(plain_I), (draws, 1)), np.abs(erased_DI)),
        TURNED: (np.zeros((draws, 12)), ((plain_I > 0) != (erased_DI > 0)).astype(float)),
    }
    assert rows.keys() == both.keys()
    for measure, (before_DI, after_DI) in both.items():
        row = rows[measure]
        expected = (before_DI.mean(), after_DI.mean(), (before_DI - after_DI).mean())
        np.testing.assert_allclose([row["before"], row["after"], row["drop"]], expected, atol=1e-12)
        ends = interval(before_DI - after_DI, group_I)
        if measure == TURNED:
            ends = np.clip(ends, -1, 1)
        np.testing.assert_allclose((row["drop_low"], row["drop_high"]), ends)
        assert (row["draws"], row["examples"]) == (draws, 12)


@pytest.mark.parametrize("draws", [1, 3])
def test_harm_before_and_after_by_hand(draws):
    generator = np.random.default_rng(1)
    told_I, plain_I = generator.integers(2, 9, size=10), generator.uniform(5, 9, size=10)
    surprise_DI, kl_DI = plain_I + generator.normal(size=(draws, 10)), generator.exponential(size=(draws, 10))
    harm = pl.DataFrame(
        {
            "variant": np.repeat(np.arange(draws), 10),
            "text": np.tile(np.arange(10), draws),
            "tokens": np.tile(told_I + 1, draws),
            "told": np.tile(told_I, draws),
            "surprise": surprise_DI.ravel(),
            "plain_surprise": np.tile(plain_I, draws),
            "kl": kl_DI.ravel(),
        }
    )
    rows = {row["measure"]: row for row in of_harm(harm)}
    both = {
        PERPLEXITY: (np.tile(plain_I / told_I, (draws, 1)), surprise_DI / told_I),
        KL: (np.zeros((draws, 10)), kl_DI / (told_I + 1)),
    }
    assert rows.keys() == both.keys()
    for measure, (before_DI, after_DI) in both.items():
        row = rows[measure]
        expected = (before_DI.mean(), after_DI.mean(), (before_DI - after_DI).mean())
        np.testing.assert_allclose([row["before"], row["after"], row["drop"]], expected)
        np.testing.assert_allclose((row["drop_low"], row["drop_high"]), interval(before_DI - after_DI))
        assert (row["draws"], row["examples"]) == (draws, 10)


# Claims.


def found(texts: int, left: float | None, *, random: float | None = None, layers: list[int] = LAYERS) -> pl.DataFrame:
    """Claims of an eraser that leaves `left` of the label, or all states alike; and random ones."""
    task = task_of(texts)
    states = constant(task) if left is None else states_of(task, left, 1)
    plain = states_of(task, 2.0, 0)
    scored = fresh({"d": task}, layers, lambda *_: [plain], lambda *_: [states])[1]
    others = [states_of(task, random, 5 + draw) for draw in range(3)] if random is not None else None
    control = others and fresh({"d": task}, layers, lambda *_: [plain], lambda *_: others)[1]
    test_E = task.split_E == "test"
    rarest = int(np.bincount(task.label_E[test_E]).min())
    rows = claims("leace", "d", layers, scored, control, int(test_E.sum()), rarest)
    assert rows.schema == pl.Schema(CLAIMS)
    return rows


def verdicts(rows: pl.DataFrame) -> dict[str, str]:
    return {one.row["claim"]: one.decide(0.95)["verdict"] for one in of_evidence(rows.with_columns(on=pl.lit("here")))}


CHANCE = "erased to chance by LEACE, at its layer", "erased to chance by LEACE, at the last layer"
MORE = "erased by LEACE more than by random, at its layer", "erased by LEACE more than by random, at the last layer"


def test_a_probe_that_tells_nothing_is_at_chance_where_texts_are_enough():
    rows = found(200, None)
    assert rows["claim"].to_list() == list(CHANCE) and rows["against"].unique().to_list() == ["chance + 0.1"]
    np.testing.assert_allclose(rows["difference"], 0.1)
    assert verdicts(rows) == dict.fromkeys(CHANCE, "holds")


def test_of_few_texts_that_is_undecided():
    assert verdicts(found(40, None)) == dict.fromkeys(CHANCE, "undecided")


def test_a_constant_probe_has_the_error_of_texts_that_may_be_otherwise():
    rows = found(200, None)
    task = task_of(200)
    error = 1.5 / 2 / min(np.bincount(task.label_E[task.split_E == "test"]))
    np.testing.assert_allclose(rows["error"], error)
    np.testing.assert_allclose(rows["difference_low"], 0.1 - stats.norm.ppf(0.975) * error, rtol=1e-6)


def test_a_label_that_is_still_there_is_not_erased():
    assert verdicts(found(200, 2.0)) == dict.fromkeys(CHANCE, "fails")


def test_above_chance_has_the_interval_of_delong():
    rows, task = found(400, 0.3), task_of(400)
    test_E = task.split_E == "test"
    said_E, is_E = told(task, states_of(task, 0.3, 1))[:, 1], task.label_E[test_E] == 1
    above_NM = (said_E[is_E][:, None] > said_E[~is_E]) + 0.5 * (said_E[is_E][:, None] == said_E[~is_E])
    assert rows["difference"][0] == pytest.approx(0.6 - above_NM.mean(), abs=0.005)
    variance = sum(above_NM.mean(axis=axis).var(ddof=1) / above_NM.shape[1 - axis] for axis in (0, 1))
    assert rows["error"][0] == pytest.approx(np.sqrt(variance), rel=0.03)


def test_it_erases_more_than_random_where_these_leave_the_label():
    told_rows = verdicts(found(200, None, random=2.0))
    assert told_rows == dict.fromkeys((*CHANCE, *MORE), "holds")
    rows = found(200, 2.0, random=2.0)
    assert [verdicts(rows)[claim] for claim in MORE] == ["undecided"] * 2
    assert rows.filter(pl.col("against") == "random subspaces").height == 2


def test_where_there_is_one_layer_its_claims_are_made_once():
    assert len(found(60, None, layers=[4])) == 1
