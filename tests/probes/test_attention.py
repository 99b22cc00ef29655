"""The attention probe: its objective by other code, what it must find that no pooled state shows, and what none may."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from tessera.features.registry import kind
from tessera.features.spaces import TokenStates
from tessera.probes import heads
from tessera.probes.registry import probe_kind
from tessera.probes.task import Cell, Task

SETTINGS = {"seed": 0, "folds": 3, "resamples": 100, "C": [0.1, 1.0]}
POOLINGS = ["heads1", "heads3", "heads2_position"]


def states_of(texts: list[np.ndarray]) -> TokenStates:
    """Token states of texts [T, D]."""
    counts = np.array([len(text) for text in texts])
    position_N = np.concatenate([np.arange(count) for count in counts]).astype(np.uint32)
    return TokenStates(np.concatenate(texts).astype(np.float16), position_N, np.cumsum(counts) - counts, counts)


def drawn(size: int, dims: int, seed: int = 0, longest: int = 12) -> list[np.ndarray]:
    """Texts of unlike length; dimensions of unlike mean and scale."""
    rng = np.random.default_rng(seed)
    return [rng.normal(2, np.arange(1, dims + 1), (rng.integers(1, longest), dims)) for _ in range(size)]


def in_space(texts: list[np.ndarray], pooling: str, train: int | None = None) -> TokenStates:
    """Their states, in the space of the first `train` texts."""
    states = states_of(texts)
    return kind("tokens").space(states[np.arange(train or len(states))], pooling, None).apply(states)


class Naive:
    """The probe written down a second time: numpy, a loop over texts and heads, everything standardised first."""

    def __init__(self, texts, pooling, classes, train):
        rounded = [text.astype(np.float16).astype(np.float64) for text in texts]
        self.texts = [
            (text - np.mean(np.vstack(rounded[:train]), 0)) / np.std(np.vstack(rounded[:train]), 0) for text in rounded
        ]
        place = np.concatenate([np.arange(len(text)) for text in rounded[:train]])
        self.places = [(np.arange(len(text)) - place.mean()) / place.std() for text in rounded]
        self.heads, self.by_position = int(pooling[5]), pooling.endswith("position")
        self.outputs = 1 if classes == 2 else classes

    def probabilities(self, weights):
        d, parts = self.texts[0].shape[1], list(weights[::-1])  # read from the end, by popping
        query = [[parts.pop() for _ in range(d)] for _ in range(self.heads)]
        slope = [parts.pop() if self.by_position else 0 for _ in range(self.heads)]
        value = [[[parts.pop() for _ in range(self.outputs)] for _ in range(d)] for _ in range(self.heads)]
        intercept = [parts.pop() for _ in range(self.outputs)]
        assert not parts
        found = []
        for text, places in zip(self.texts, self.places, strict=True):
            decision = np.array(intercept)
            for q, s, v in zip(query, slope, value, strict=True):
                odds = np.exp(text @ q + s * places)
                decision = decision + (odds / odds.sum()) @ text @ v
            odds = np.exp(np.append(0, decision) if self.outputs == 1 else decision)
            found.append(odds / odds.sum())
        return np.array(found)

    def objective(self, weights, label_E, C):
        likelihood = np.log(self.probabilities(weights)[np.arange(len(label_E)), label_E])
        loss = np.mean([-likelihood[label_E == label].mean() for label in np.unique(label_E)])
        return loss + (weights[: -self.outputs] ** 2).sum() / (2 * C * len(label_E))


def task_of(label_E: np.ndarray, tests: int) -> Task:
    """The last `tests` examples are the test split."""
    size, names = len(label_E), [str(number) for number in range(len(label_E))]
    split = ["train"] * (size - tests) + ["test"] * tests
    labels = [f"class {label}" for label in label_E]
    frame = {"example": np.arange(size, dtype=np.uint32), "id": names, "group": names, "label": labels, "split": split}
    return Task(pl.DataFrame(frame), **SETTINGS)


def fitted(texts: list[np.ndarray], label_E: np.ndarray, tests: int, pooling: str = "heads1") -> Cell:
    (cell,) = task_of(label_E, tests).fit(
        kind("tokens"), states_of(texts), pooling, None, ["none"], probe_kind("attention")
    )
    return cell


def hidden(texts: list[np.ndarray], label_E: np.ndarray, tests: int) -> dict[str, float]:
    """Macro F1 of hidden states, pooled in each way."""
    found, ways = {}, {"mean": np.mean, "max": np.max, "last": lambda text, axis: text[-1]}
    for name, pool in ways.items():
        hidden_ED = np.stack([pool(text, axis=0) for text in texts]).astype(np.float32)
        (cell,) = task_of(label_E, tests).fit(kind("hidden"), hidden_ED, name, None, ["none"])
        found[name] = cell.scores["macro_f1"][0]
    return found


def objective_of(states, label_E, classes):
    return heads.Objective(states, label_E, classes, "cpu")


# Its definition


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_it_is_what_a_loop_over_texts_and_heads_says(pooling, classes):
    texts, rng = drawn(60, 5), np.random.default_rng(1)
    label_E, states = rng.permutation(np.arange(60) % classes), in_space(texts, pooling, train=40)
    train, naive = states[np.arange(40)], Naive(texts, pooling, classes, 40)
    objective = objective_of(train, label_E[:40], classes)
    weights = objective.draw(rng) + rng.normal(size=sum(objective.sizes))
    probe = heads.AttentionProbe(classes=[str(label) for label in range(classes)], weights=weights)
    np.testing.assert_allclose(probe.probabilities(states), naive.probabilities(weights), rtol=1e-9)
    naive.texts, naive.places = naive.texts[:40], naive.places[:40]
    for C in (0.01, 10.0):
        assert objective(weights, C)[0] == pytest.approx(naive.objective(weights, label_E[:40], C), rel=1e-10)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_its_gradient(pooling, classes):
    rng = np.random.default_rng(0)
    objective = objective_of(in_space(drawn(30, 4), pooling), np.arange(30) % classes, classes)
    weights = objective.draw(rng)
    steps = np.eye(len(weights)) * 1e-5
    numeric = [(objective(weights + step, 0.5)[0] - objective(weights - step, 0.5)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(objective(weights, 0.5)[1], numeric, atol=1e-8)


@pytest.mark.parametrize("classes", [2, 3])
def test_without_queries_it_is_the_logistic_regression_of_mean_tokens(classes):
    from sklearn.linear_model import LogisticRegression

    texts = drawn(90, 6)
    label_E, states = np.append(np.arange(60) % classes, np.zeros(30, dtype=int)), in_space(texts, "heads1")
    tokens = [text.astype(np.float16).astype(np.float64) for text in texts]
    every = np.vstack(tokens)
    mean_ED = np.stack([((text - every.mean(0)) / every.std(0)).mean(0) for text in tokens])
    model = LogisticRegression(C=0.3, class_weight="balanced", tol=1e-10, max_iter=10_000).fit(mean_ED, label_E)
    objective = objective_of(states, label_E, classes)

    def with_values(values):
        return np.concatenate([np.zeros(6), values])

    own = np.concatenate([model.coef_.T.ravel(), model.intercept_])
    value, gradient = objective(with_values(own), 0.3)
    assert (
        np.abs(gradient[6:]).max() < 1e-8 < np.abs(gradient[:6]).max()
    )  # theirs is the optimum as long as queries are 0
    again = minimize(lambda values: objective(with_values(values), 0.3)[0], own + 0.1, method="BFGS")
    assert again.fun == pytest.approx(value, abs=1e-6)
    probe = heads.AttentionProbe(classes=[*map(str, range(classes))], weights=with_values(own))
    np.testing.assert_allclose(probe.probabilities(states), model.predict_proba(mean_ED), rtol=1e-9)


@pytest.mark.parametrize("pooling", ["heads1", "heads2_position"])
def test_the_optimum_is_no_worse_than_what_another_solver_finds(pooling):
    texts, rng, C = drawn(30, 2, longest=5), np.random.default_rng(3), 0.3
    label_E = (np.array([text[:, 0].max() for text in texts]) > 2.5).astype(int)
    *_, probe = heads.path(in_space(texts, pooling), label_E, ["a", "b"], [0.03, C], seed=0, device="cpu")
    naive = Naive(texts, pooling, 2, 30)
    others = [
        minimize(
            naive.objective, rng.normal(size=len(probe.weights)), (label_E, C), method="BFGS", options={"maxiter": 60}
        )
        for _ in range(2)
    ]
    assert probe.converged
    assert naive.objective(probe.weights, label_E, C) <= min(other.fun for other in others) + 1e-4


# Texts alone and together


def test_a_text_is_told_alike_whatever_stands_beside_it(monkeypatch):
    texts, rng = [*drawn(200, 8, longest=30), *drawn(1, 8, longest=3)], np.random.default_rng(4)
    states = in_space(texts, "heads2_position")
    weights = rng.normal(size=2 * 8 + 2 + 2 * 8 + 1)
    probe = heads.AttentionProbe(classes=["a", "b"], weights=weights)
    whole = probe.probabilities(states)
    some = rng.permutation(len(texts))[:20]
    np.testing.assert_allclose(probe.probabilities(states[some]), whole[some], rtol=1e-12)
    np.testing.assert_allclose(probe.probabilities(states[np.array([7])]), whole[[7]], rtol=1e-12)
    monkeypatch.setitem(heads.BLOCK, "cpu", 10)
    np.testing.assert_allclose(probe.probabilities(states), whole, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 64, 100_000])
def test_blocks_hold_every_token_once_and_little_else(most):
    states = in_space(drawn(400, 2, longest=200), "heads1")
    found = heads.blocks(states, most, "cpu")
    assert sorted(np.concatenate([block.examples_B for block in found])) == [*range(400)]
    read = np.concatenate([block.token_BT[~block.beyond_BT].numpy() for block in found])
    assert sorted(read) == [*range(len(states.state_ND))]
    assert sum(block.token_BT.numel() for block in found) < 1.25 * len(read)
    assert all(block.token_BT.numel() <= most or len(block.examples_B) == 1 for block in found)


def test_the_same_seed_finds_the_same_bits():
    texts, label_E = drawn(40, 4), np.arange(40) % 2
    runs = [
        [*heads.path(in_space(texts, "heads2"), label_E, ["a", "b"], [0.1, 1.0], seed, "cpu")] for seed in (0, 0, 1)
    ]
    assert [np.array_equal(runs[0][step].weights, runs[1][step].weights) for step in (0, 1)] == [True, True]
    assert not np.array_equal(runs[0][1].weights, runs[2][1].weights)


# What it finds


def with_a_sign(size: int, dims: int, seed: int, where=None) -> tuple[list[np.ndarray], np.ndarray]:
    """Texts of noise in which one token of many says the class, and says that it does; or the one at `where`."""
    rng = np.random.default_rng(seed)
    texts, label_E = [rng.normal(size=(rng.integers(10, 20), dims)) for _ in range(size)], np.arange(size) % 2
    for text, label in zip(texts, label_E, strict=True):
        text[:, 1] = rng.choice([-4, 4], len(text))  # what says the class there says nothing elsewhere
        token = rng.integers(len(text)) if where is None else where
        text[token, 1] = 4 if label else -4
        if where is None:
            text[token, 0] += 8
    return texts, label_E


def test_it_reads_the_one_token_of_many_that_shows_the_class():
    texts, label_E = with_a_sign(400, 8, seed=0)
    pooled = hidden(texts, label_E, tests=250)
    found = fitted(texts, label_E, tests=250).scores["macro_f1"][0]
    assert found > 0.97 and max(pooled.values()) < 0.65


def test_with_positions_it_reads_the_token_that_stands_in_a_place():
    texts, label_E = with_a_sign(400, 4, seed=1, where=0)
    without, by_position = (
        fitted(texts, label_E, 250, name).scores["macro_f1"][0] for name in ("heads1", "heads1_position")
    )
    assert by_position > 0.97 and without < 0.65


@pytest.mark.parametrize("pooling", ["heads1", "heads4_position"])
def test_noise_tells_it_nothing(pooling):
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        label_E = rng.permutation(np.arange(300) % 2)
        found.append(fitted(drawn(300, 4, seed=seed), label_E, 220, pooling).scores["macro_f1"][0])
    assert abs(np.mean(found) - 0.5) < 0.05


def test_what_a_cell_leaves():
    texts, label_E = drawn(90, 5), np.arange(90) % 3
    cell = fitted(texts, label_E, 30, "heads2")
    assert cell.coefficients is None
    row = cell.scores.row(0, named=True)
    assert (row["n_features"], row["density"], row["training_examples"]) == (5, 1.0, 60)
    assert row["C"] in SETTINGS["C"] and row["converged"] and row["setting"] is None
