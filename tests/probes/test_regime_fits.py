"""Probes in regimes: chosen inside the changed training split, scored on clean tests; planted, and null."""

import numpy as np
import polars as pl
import pytest
from probes.test_curves import SETTINGS as FEW
from probes.test_curves import frame as frame  # a fixture
from probes.test_probe_kinds import DENSE, fitted
from refusals import fails
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from tessera.base.files import write_parquet
from tessera.examples.regimes import REGIMES, in_regime
from tessera.examples.splits import assign_parts
from tessera.probes.regimes import regime_cells, tasks_of
from tessera.probes.registry import LOGISTIC, PROBES
from tessera.probes.task import Task, probe_cells

SETTINGS = {"seed": 0, "folds": 4, "resamples": 100, "C": [0.01, 0.1, 1.0]}
LEVELS = [["scarcity", 0.3], ["scarcity", 0.1], ["imbalance", 0.2], ["noise", 0.2]]


def frame_of(label_E: np.ndarray, tests: int) -> pl.DataFrame:
    names = [f"r{number}" for number in range(len(label_E))]
    return pl.DataFrame(
        {
            "example": np.arange(len(names), dtype=np.uint32),
            "id": names,
            "group": names,
            "text": names,
            "label": [f"class {label}" for label in label_E],
            "split": ["train"] * (len(names) - tests) + ["test"] * tests,
        }
    )


def direction(size: int, dims: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and examples of two classes whose means are `apart`, spread over all dimensions."""
    rng = np.random.default_rng(seed)
    label_E = rng.permutation(np.arange(size) % 2)
    return label_E, (label_E[:, None] * apart / dims**0.5 + rng.normal(size=(size, dims))).astype(np.float32)


def scores_of(frame, hidden_ED, regime=None, probe=LOGISTIC, repeats=1) -> pl.DataFrame:
    tasks = [Task(frame, **SETTINGS, regime=regime, repeat=repeat) for repeat in range(repeats)]
    return pl.concat([fitted(task, hidden_ED, probe).scores for task in tasks])


@pytest.mark.parametrize("name", REGIMES)
def test_the_level_that_changes_nothing_is_the_plain_cell(name):
    label_E, hidden_ED = direction(300, 8, 2.0)
    frame = frame_of(label_E, 100)
    for probe in (LOGISTIC, *DENSE):
        plain = fitted(Task(frame, **SETTINGS), hidden_ED, probe)
        same = fitted(Task(frame, **SETTINGS, regime=(name, REGIMES[name].plain)), hidden_ED, probe)
        assert all(part.equals(vars(same)[key]) for key, part in vars(plain).items() if part is not None)


@pytest.mark.parametrize("regime", [("scarcity", 0.3), ("imbalance", 0.3), ("noise", 0.2)])
def test_a_cell_in_a_regime_agrees_with_its_own_recomputation(regime):
    """Folds, scales and C by the changed training split and its labels; scores by the clean tests."""
    label_E, hidden_ED = direction(500, 8, 2.0)
    frame = frame_of(label_E, 200)
    cell = fitted(Task(frame, **SETTINGS, regime=regime), hidden_ED, LOGISTIC)
    changed = in_regime(frame, *regime, seed=0)
    used_E, train = (changed["split"] == "train").to_numpy(), changed.filter(split="train")
    fold_E = assign_parts(train, 4, seed=0, purpose="folds")
    train_ED, truth_E = hidden_ED[used_E].astype(float), train["label"].to_numpy()

    def fit(rows_E, C):
        scale = StandardScaler().fit(train_ED[rows_E])
        model = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=10_000)
        return scale, model.fit(scale.transform(train_ED[rows_E]), truth_E[rows_E])

    def mean_f1(C):
        found = []
        for fold in range(4):
            scale, model = fit(fold_E != fold, C)
            told_E = model.predict(scale.transform(train_ED[fold_E == fold]))
            found.append(f1_score(truth_E[fold_E == fold], told_E, average="macro"))
        return np.mean(found)

    choice = {C: mean_f1(C) for C in SETTINGS["C"]}
    best = max(choice, key=choice.get)
    assert cell.scores["C"][0] == best and cell.scores["cv_macro_f1"][0] == pytest.approx(choice[best], abs=1e-9)
    scale, model = fit(np.ones(len(train), dtype=bool), best)
    told_E = model.predict(scale.transform(hidden_ED[-200:].astype(float)))
    assert cell.predictions["predicted"].to_list() == told_E.tolist()
    assert cell.predictions["label"].to_list() == frame["label"][-200:].to_list()
    assert cell.scores["macro_f1"][0] == pytest.approx(f1_score(frame["label"][-200:], told_E, average="macro"))
    assert cell.scores["training_examples"][0] == len(train)


@pytest.mark.parametrize("regime", [("scarcity", 0.3), ("imbalance", 0.3), ("noise", 0.2)])
def test_nothing_is_chosen_on_tests_or_on_what_is_left_out(regime):
    label_E, hidden_ED = direction(300, 8, 2.0)
    frame = frame_of(label_E, 100)
    first = fitted(Task(frame, **SETTINGS, regime=regime), hidden_ED, LOGISTIC)
    used_E = Task(frame, **SETTINGS, regime=regime).train_E
    other_ED = np.where(used_E[:, None], hidden_ED, 7 - 3 * hidden_ED)
    second = fitted(Task(frame, **SETTINGS, regime=regime), other_ED, LOGISTIC)
    assert second.coefficients.equals(first.coefficients)
    assert second.scores["cv_macro_f1"].equals(first.scores["cv_macro_f1"])


@pytest.mark.parametrize("probe", [LOGISTIC, *DENSE])
def test_labels_that_are_wrong_in_half_of_all_cases_tell_nothing(probe):
    label_E, hidden_ED = direction(500, 8, 3.0)
    frame = frame_of(label_E, 300)
    assert scores_of(frame, hidden_ED, probe=probe)["accuracy"].mean() > (0.75 if PROBES[probe].trees else 0.9)
    tasks = [Task(frame, **SETTINGS | {"seed": seed}, regime=("noise", 0.5)) for seed in range(16)]
    accuracy_R = np.array([fitted(task, hidden_ED, probe).scores["accuracy"][0] for task in tasks])
    assert abs(accuracy_R.mean() - 0.5) < 3 * accuracy_R.std(ddof=1) / 16**0.5


@pytest.mark.parametrize("regime", [("scarcity", 0.2), ("imbalance", 0.2), ("noise", 0.3)])
def test_where_there_is_nothing_a_regime_finds_nothing(regime):
    label_E, hidden_ED = direction(500, 8, 0.0)
    scores = scores_of(frame_of(label_E, 100), hidden_ED, regime, repeats=10)
    auc_R = scores["roc_auc"].to_numpy()
    assert abs(auc_R.mean() - 0.5) < 3 * auc_R.std(ddof=1) / 10**0.5


def test_few_columns_suffer_less_where_examples_are_few():
    """A wide contestant that knows more wins on the whole split, and loses on a twentieth of it."""
    label_E, wide_ED = direction(1400, 400, 3.0)
    narrow_ED = label_E[:, None] * 1.2 + np.random.default_rng(1).normal(size=(1400, 2)).astype(np.float32)
    frame = frame_of(label_E, 600)
    whole, few = (
        [scores_of(frame, one_ED, regime)["macro_f1"][0] for one_ED in (wide_ED, narrow_ED)]
        for regime in (None, ("scarcity", 0.05))
    )
    assert whole[0] > whole[1] + 0.02 and few[0] < few[1] - 0.05


def test_a_job_has_every_cell_in_every_regime(frame, tmp_path):
    file = str(tmp_path / "examples.parquet")
    write_parquet(file, frame)
    asked = "tfidf", file, [], {"data": "d"}, {"pooling": ["word", "char"]}, FEW
    found = regime_cells(*asked, LEVELS, 2)
    assert found["scores"].columns[:4] == ["regime", "level", "pooling", "repeat"]
    by = found["scores"].group_by("regime", "level", "pooling", maintain_order=True).agg(pl.len())
    assert by.rows() == [(*level, pooling, 2) for level in LEVELS for pooling in ("word", "char")]
    plain = dict((here["pooling"], cell) for here, cell in probe_cells(*asked, 2))
    tests = plain["char"].predictions.select("repeat", "example", "split", "label")
    for _, rows in found["predictions"].group_by("regime", "level", "pooling"):
        assert rows.select(tests.columns).equals(tests)
    sizes = found["scores"].filter(pooling="char", repeat=1)["training_examples"].to_list()
    assert sizes[3] == 240 > sizes[0] > sizes[1] and sizes[2] < 240


def test_a_level_that_leaves_too_few_names_its_key(frame):
    few = frame.filter((pl.col("label") == "class 0") | (pl.int_range(pl.len()) % 8 == 1))
    fails(
        lambda: tasks_of(few, "d", FEW, 1, [["scarcity", 0.9], ["scarcity", 0.05]]),
        "config key regimes.scarcity: at 0.05 of d, class 'class 1' has 1 distinct training texts, fewer than "
        "probe.folds, 3; drop this level",
    )
