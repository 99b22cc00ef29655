"""Probes carried to another SAE: the same where it is the same in disguise, and no claim where it is unrelated."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from probes.asis import run
from tessera.base.files import write_parquet
from tessera.features.pooling import pool
from tessera.features.spaces import Standardised, Thresholding
from tessera.matching import alignment, carry, pairings
from tessera.matching.pairings import HIDDEN_POOLING, Sides, directions, draw_directions
from tessera.probes.metrics import with_interval
from tessera.probes.task import Task, read_probe
from tessera.results.catalogue import TABLES
from tessera.results.claims import judge, of_matches
from tessera.results.match_tables import match_tables
from tessera.study import paths
from tessera.study.grid import parse_threshold

SETTINGS = {"seed": 0, "folds": 3, "resamples": 200, "C": [0.1, 1.0]}
POOLINGS = ["sum", "mean", "max", "last", "count"]
THRESHOLDS = ["none", "0.5", "q50"]
WIDTH, D = 60, 16


def world(seed=0, examples=240, planes=24):
    """Labelled examples whose hidden states [N, D] are sparse sums of directions, one of which tells the label."""
    generator = np.random.default_rng(seed)
    label_E = generator.integers(2, size=examples)
    example_N = np.repeat(np.arange(examples), generator.integers(4, 12, size=examples))
    code_NP = generator.gamma(2, 1, (len(example_N), planes)) * (generator.random((len(example_N), planes)) < 0.15)
    code_NP[:, 0] = (generator.random(len(example_N)) < 0.1 + 0.25 * label_E[example_N]) * 3.0
    hidden_ND = code_NP @ generator.standard_normal((planes, D)) / D**0.5
    frame = pl.DataFrame(
        {
            "example": pl.Series(range(examples), dtype=pl.UInt32),
            "id": [f"w{seed}-{i}" for i in range(examples)],
            "text": [f"text {i}" for i in range(examples)],
            "label": np.array(["no", "yes"])[label_E],
            "split": np.where(np.arange(examples) % 3 == 0, "test", "train"),
            "group": pl.Series(range(examples), dtype=pl.UInt32),
        }
    )
    return frame, example_N, hidden_ND.astype(np.float32), code_NP.astype(np.float32)


def random_encoder(hidden_ND, seed, width=WIDTH, rate=0.1):
    """Token-level latents of random weights, each active on about a tenth of the tokens."""
    weights_DW = np.random.default_rng(seed).standard_normal((hidden_ND.shape[1], width))
    pre_NW = hidden_ND @ weights_DW
    return np.maximum(pre_NW - np.quantile(pre_NW, 1 - rate, axis=0), 0).astype(np.float32)


def pooled(example_N, acts_NW, poolings=POOLINGS):
    found = sp.csr_array(acts_NW)
    width = acts_NW.shape[1]
    _, features = pool(example_N, found.indptr, found.indices.astype(np.uint32), found.data, list(poolings))
    return {
        name: sp.csr_array((part.data, part.indices, part.indptr), (part.shape[0], width))
        for name, part in features.items()
    }


def pooled_hidden(example_N, hidden_ND, pooling):
    starts = np.flatnonzero(np.append(True, np.diff(example_N) != 0))
    if pooling == "last":
        return hidden_ND[np.append(starts[1:], len(example_N)) - 1]
    return np.add.reduceat(hidden_ND, starts) / np.bincount(example_N)[:, None].astype(np.float32)


def side(task, example_N, acts_NW, hidden_ND, poolings=POOLINGS, thresholds=THRESHOLDS):
    """One SAE on one data set, with probes as the probe stage leaves them."""
    features = pooled(example_N, acts_NW, poolings)
    hidden = {name: pooled_hidden(example_N, hidden_ND, name) for name in ("mean", "last")}
    probes = {}
    for pooling, features_EW in features.items():
        for threshold in thresholds:
            thresholding = Thresholding.fit(features_EW[task.train_E], threshold)
            cell = run(task, thresholding.apply(features_EW), thresholding)
            probes[pooling, threshold, "none"] = read_probe(cell.scores, cell.coefficients, task.classes)
    scale = Standardised(hidden["mean"][task.train_E])
    mean = run(task, scale.apply(hidden["mean"]), scale)
    return carry.Side(features, hidden, probes, {"mean": read_probe(mean.scores, mean.coefficients, task.classes)[0]})


def random_saes(task, example_N, hidden, *, poolings, same=False, draws=5, seed=0):
    """Draws of random encoders on the token states `hidden` of either side, mapped on the training rows."""
    found, rows = [], np.flatnonzero(task.train_E)
    for draw in range(draws):
        acts = {
            name: random_encoder(hidden_ND, [seed, draw, 0 if same else number])
            for number, (name, hidden_ND) in enumerate(hidden.items())
        }
        sides = {name: pooled(example_N, acts_NW, poolings) for name, acts_NW in acts.items()}
        features = {pooling: {name: sides[name][pooling] for name in sides} for pooling in poolings}
        trained = {p: {name: some[rows] for name, some in features[p].items()} for p in poolings}
        maps = {pooling: pairings.random_maps(trained[pooling], same=same) for pooling in poolings}
        found.append(carry.RandomSaes(features, maps))
    return found


def said(claims):
    """The claims of a study that has this match alone."""
    named = claims.with_columns(match=pl.lit("t"), target=pl.when(source="a").then(pl.lit("b")).otherwise(pl.lit("a")))
    return judge([], None, of_matches(named))


def carry_over(frame, task, sides, tokens=None, same=False, seed=0, random=()):
    """Pairings found on the training rows, and what every condition scores."""
    rows = alignment.training_texts(frame)
    features = {
        pooling: {name: one.features[pooling][rows] for name, one in sides.items()} for pooling in sides["a"].features
    }
    needed = {HIDDEN_POOLING.get(pooling, "mean") for pooling in features} | {"mean"}
    hidden = {pooling: {name: one.hidden[pooling][rows] for name, one in sides.items()} for pooling in needed}
    found = pairings.find(Sides(features, hidden, tokens, same, seed))
    ridges = {
        (source, "mean"): carry.ridge(hidden["mean"][target], hidden["mean"][source]) for source, target in ("ab", "ba")
    }
    answers = carry.answer(task, sides, found["pairings"], ridges, seed, random)
    return found, answers, carry.score(task, answers)[0], carry.claims({"one": (task, answers)})


@pytest.fixture(scope="module")
def planted():
    """SAE B is SAE A with its latents permuted and rescaled."""
    frame, example_N, hidden_ND, code_NP = world()
    task = Task(frame, **SETTINGS)
    acts_NW = np.hstack([code_NP, random_encoder(hidden_ND, 1, WIDTH - code_NP.shape[1])])
    generator = np.random.default_rng(2)
    order, scales = generator.permutation(WIDTH), np.exp(generator.normal(0, 1, WIDTH)).astype(np.float32)
    other_NW = acts_NW[:, order] * scales
    sides = {
        "a": side(task, example_N, acts_NW, hidden_ND),
        "b": side(task, example_N, other_NW, hidden_ND[:, ::-1] * 2),
    }
    training = np.isin(example_N, np.flatnonzero(task.train_E))
    tokens = {"a": sp.csr_array(acts_NW[training]), "b": sp.csr_array(other_NW[training])}
    random = random_saes(task, example_N, {"a": hidden_ND, "b": hidden_ND[:, ::-1] * 2}, poolings=POOLINGS, draws=2)
    return order, *carry_over(frame, task, sides, tokens, random=random)


def test_the_planted_permutation_is_recovered_over_examples_and_tokens(planted):
    order, found = planted[:2]
    for (source, over, pooling, pairing), rows in found["pairings"].group_by("source", "over", "pooling", "pairing"):
        if pairing in pairings.MATCHED:
            partner = rows["partner"].to_numpy()
            expected = np.argsort(order) if source == "a" else order
            assert (partner == expected[rows["latent"].to_numpy()]).all(), (over, pooling, pairing)
            assert len(rows) == WIDTH and rows["above_null"].all()
    matches = found["matches"].filter(pairing="one_to_one")
    assert set(matches["over"]) == {"examples", "tokens"}
    assert matches["svcca"].min() > 0.999 > 0.6 > matches["svcca_null"].max()


def test_a_carried_probe_says_exactly_what_it_says_at_home(planted):
    answers = planted[2]
    at_home = {
        (one.place["source"], one.place["pooling"], one.place["threshold"]): one.predicted_RE[0]
        for one in answers
        if one.place["features"] == "sae" and one.place["condition"] == "source"
    }
    assert len(at_home) == 2 * len(POOLINGS) * len(THRESHOLDS)
    carried_over = [one for one in answers if one.place["condition"] in pairings.MATCHED]
    assert len(carried_over) == len(at_home) * 2 * 2
    for one in carried_over:
        same = at_home[one.place["source"], one.place["pooling"], one.place["threshold"]]
        assert (one.predicted_RE[0] == same).all(), one.place


def test_without_a_threshold_the_carried_probe_is_the_native_one(planted):
    """Scaled features of A and B are the same matrix but for the order of its columns, and so are their probes."""
    answers = planted[2]
    native = {
        (one.place["source"], one.place["pooling"]): one.predicted_RE[0]
        for one in answers
        if one.place["condition"] == "native" and one.place["threshold"] == "none"
    }
    for one in answers:
        if one.place["condition"] == "one_to_one" and one.place["threshold"] == "none":
            assert (one.predicted_RE[0] == native[one.place["source"], one.place["pooling"]]).all(), one.place


def test_a_real_match_beats_its_controls(planted):
    scores, claims = planted[3:]
    scores = scores.filter(features="sae", pooling="sum", threshold="none")
    mean = dict(scores.group_by("condition").agg(pl.col("macro_f1").mean()).iter_rows())
    assert mean["one_to_one"] == mean["source"] > max(mean["random"], mean["directions"]) + 0.05
    assert (claims.filter(against="random match")["difference_low"] > 0).all()
    verdicts = said(claims).filter(claim="latents transfer: matched latents")["verdict"].to_list()
    assert len(verdicts) == 2 and "fails" not in verdicts


@pytest.mark.parametrize("case", ["two random encoders", "unrelated features"])
def test_unrelated_latents_never_transfer(case):
    """Twenty pairs of encoders of random weights, in both directions, each against random encoders of its own."""
    few = {"poolings": ["sum"], "thresholds": ["none"]}
    for seed in range(10):
        frame, example_N, hidden_ND, _ = world(seed, examples=300)
        task = Task(frame, **SETTINGS)
        a_NW, other_ND = random_encoder(hidden_ND, [seed, 1]), hidden_ND
        if case == "unrelated features":
            other_ND = np.random.default_rng([seed, 3]).standard_normal(hidden_ND.shape).astype(np.float32)
        b_NW = random_encoder(other_ND, [seed, 2])
        sides = {"a": side(task, example_N, a_NW, hidden_ND, **few), "b": side(task, example_N, b_NW, other_ND, **few)}
        random = random_saes(
            task, example_N, {"a": hidden_ND, "b": other_ND}, poolings=["sum"], draws=3, seed=100 + seed
        )
        claims = said(carry_over(frame, task, sides, random=random)[-1])
        verdicts = claims.filter(claim="latents transfer: matched latents")["verdict"].to_list()
        assert len(verdicts) == 2 and "holds" not in verdicts, seed


def test_calibrated_decisions_have_the_mean_and_spread_of_those_at_home():
    generator = np.random.default_rng(0)
    home_EK, carried_EK = generator.normal(0, 2, (200, 3)), generator.normal(5, 0.1, (200, 3))
    train_E = np.arange(200) < 150
    found_EK = carry.calibrated(carried_EK, home_EK, train_E)
    np.testing.assert_allclose(found_EK[train_E].mean(axis=0), home_EK[train_E].mean(axis=0))
    np.testing.assert_allclose(found_EK[train_E].std(axis=0), home_EK[train_E].std(axis=0))
    assert (found_EK.argsort(axis=0) == carried_EK.argsort(axis=0)).all()
    np.testing.assert_allclose(carry.calibrated(home_EK, home_EK, train_E), home_EK)
    silent_EK = np.full((200, 1), 3.0)  # says the same of everything: the mean decision at home
    np.testing.assert_allclose(carry.calibrated(silent_EK, home_EK[:, :1], train_E), home_EK[train_E, 0].mean())


def test_a_shift_of_what_is_carried_changes_nothing():
    """Where a control's activations have another mean, its macro F1 is still what its decisions tell."""
    frame, example_N, hidden_ND, _ = world()
    task = Task(frame, **SETTINGS)
    few = {"poolings": ["sum"], "thresholds": ["none"]}
    one = side(task, example_N, random_encoder(hidden_ND, 1), hidden_ND, **few)
    probe, space = one.probes["sum", "none", "none"]
    home_EK = probe.decisions(space.apply(one.features["sum"]))
    told = [carry.calibrated(home_EK * scale + shift, home_EK, task.train_E) for scale, shift in ((1, 9), (0.1, -3))]
    np.testing.assert_allclose(told[0], home_EK)
    np.testing.assert_allclose(told[1], home_EK)


def test_the_same_sae_is_also_carried_latent_by_latent():
    frame, example_N, hidden_ND, _ = world()
    task = Task(frame, **SETTINGS)
    few = {"poolings": ["sum"], "thresholds": ["none"]}
    acts_NW = random_encoder(hidden_ND, 1)
    one = side(task, example_N, acts_NW, hidden_ND, **few)
    found, answers, _, claims = carry_over(frame, task, {"a": one, "b": one}, same=True)
    told = {one.place["condition"]: one.predicted_RE[0] for one in answers if one.place["features"] == "sae"}
    assert (told["identity"] == told["source"]).all()
    assert found["matches"].filter(pairing="one_to_one")["itself"].to_list() == [1, 1]
    assert set(claims["pairing"]) == {"one_to_one", "identity"}


def test_directions_are_active_as_often_as_asked():
    hidden_ED = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32) + 3
    active_W = np.array([0, 1, 50, 99, 100])
    weights_DW = draw_directions(8, 5, 0, "b", 0)
    drawn_EW, tau_W = directions(hidden_ED, weights_DW, active_W)
    assert ((drawn_EW > 0).sum(axis=0) == active_W).all()
    rows = pl.DataFrame({"latent": [4, 1], "partner": [2, 3], "scale": [2.0, 0.5], "tau": tau_W[[2, 3]]})
    moved = pairings.Map.of(rows).apply_directions(hidden_ED, weights_DW, 6).toarray()
    np.testing.assert_allclose(moved[:, 4], 2 * drawn_EW.toarray()[:, 2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[:, 1], drawn_EW.toarray()[:, 3] / 2, rtol=1e-4, atol=1e-5)
    assert not moved[:, [0, 2, 3, 5]].any()


def test_draws_widen_the_interval():
    values_RB = np.tile(np.array([[0.2], [0.4], [0.6]]), (1, 2001))
    found = with_interval("f1", carry.over_draws(values_RB, 0))
    assert found["f1"] == pytest.approx(0.4) and (found["f1_low"], found["f1_high"]) == (0.2, 0.6)


def test_ridge_maps_what_is_linear():
    generator = np.random.default_rng(0)
    target_ED = generator.standard_normal((200, 10)).astype(np.float32)
    source_EF = (target_ED @ generator.standard_normal((10, 7)) + 2).astype(np.float32)
    np.testing.assert_allclose(carry.ridge(target_ED, source_EF)(target_ED), source_EF, atol=0.02)


def test_read_probe_is_the_probe_that_was_written():
    frame, example_N, hidden_ND, _ = world(examples=120)
    task = Task(frame.with_columns(label=pl.Series(["a", "b", "c", "a"] * 30)), **SETTINGS)
    features_EW = pooled(example_N, random_encoder(hidden_ND, 1), ["sum"])["sum"]
    for threshold in THRESHOLDS:
        thresholding = Thresholding.fit(features_EW[task.train_E], threshold)
        cell = run(task, thresholding.apply(features_EW), thresholding)
        probe, again = read_probe(cell.scores, cell.coefficients, task.classes)
        assert again.tau == thresholding.tau and (again.tau is None) == (parse_threshold(threshold)[0] == "none")
        test = cell.predictions.filter(split="test")
        given = probe.probabilities(again.apply(features_EW[task.split_E == "test"]))
        np.testing.assert_allclose(given, np.array(test["probability"].to_list()), atol=1e-5)


def tokens_of(texts, vocabulary=lambda word: ord(word[0]), width=3):
    """What read_tokens gives of texts: examples ascending, an id per word, activations that tell words apart."""
    rows = [
        (number, position, vocabulary(word))
        for number, text in enumerate(texts)
        for position, word in enumerate(text.split())
    ]
    example, position, ids = (np.array(column) for column in zip(*rows, strict=True))
    return alignment.Tokens(example, position, ids, sp.csr_array(np.eye(width, dtype=np.float32)[ids % width]))


def without(tokens, position):
    """The same where a token of each text was left out."""
    kept = tokens.position_N != position
    rows = (tokens.example_N[kept], tokens.position_N[kept], tokens.id_N[kept])
    return alignment.Tokens(*rows, tokens.acts_NW[kept])


def test_tokens_are_aligned_where_the_tokenizers_agree(caplog):
    texts = ["a b c", "d e", "f g h i"]
    a, b = tokens_of(texts), tokens_of(["a b c", "d x", "f g h i"])
    found = alignment.align([a], [b], ["one", "other"])
    assert found["a"].shape == found["b"].shape == (7, 3)
    assert (found["a"] != found["b"]).nnz == 0
    assert not caplog.records


def test_tokens_that_one_side_left_out_are_not_aligned(caplog):
    texts = ["a a b", "d e", "f g h i", "j"]
    a, b = without(tokens_of(texts), 0), without(tokens_of(texts), 1)
    found = alignment.align([a], [tokens_of(texts)], ["one", "other"])
    assert found["a"].shape == found["b"].shape == (6, 3) and (found["a"] != found["b"]).nnz == 0
    found = alignment.align([a], [b], ["one", "other"])  # the third token of the first, two of the third
    assert found["a"].shape == found["b"].shape == (3, 3) and (found["a"] != found["b"]).nnz == 0
    assert not caplog.records


def test_tokenizers_that_differ_are_said_to(caplog):
    texts = ["a b c", "d e", "f g h i"]
    other = tokens_of(texts, lambda word: 1000 - ord(word[0]))
    assert alignment.align([tokens_of(texts)], [other], ["one", "other"]) is None
    assert "one and other read 0 of 3 texts as the same tokens" in caplog.text
    shifted = tokens_of(["z " + text for text in texts])
    assert alignment.align([tokens_of(texts)], [shifted], ["one", "other"]) is None


def merged(folder, parts):
    """The tables of one match of these parts, written and merged as in a study."""
    files = {part: folder / paths.MATCH.format(match="t", part=part) for part in parts}
    for part, file in files.items():
        write_parquet(file, parts[part])
    sides = {name: {"model": name, "layer": "1", "width": str(WIDTH)} for name in "ab"}
    return match_tables({part: [str(file)] for part, file in files.items()}, {"t": sides})


@pytest.mark.parametrize("over_tokens", [False, True], ids=["examples", "tokens"])
@pytest.mark.parametrize("silent", ["a", "b", "ab"])
def test_an_sae_that_never_fires_ends_in_tables(tmp_path, silent, over_tokens):
    frame, example_N, hidden_ND, _ = world(examples=120)
    task = Task(frame, **SETTINGS)
    acts_NW = random_encoder(hidden_ND, 1)
    acts = {name: acts_NW * (name not in silent) for name in "ab"}
    few = {"poolings": ["sum", "last"], "thresholds": ["none", "q50"]}
    sides = {name: side(task, example_N, some, hidden_ND, **few) for name, some in acts.items()}
    tokens = {name: sp.csr_array(some) for name, some in acts.items()} if over_tokens else None
    random = random_saes(task, example_N, {"a": hidden_ND, "b": hidden_ND}, poolings=few["poolings"], draws=2)
    found, answers, *_ = carry_over(frame, task, sides, tokens, random=random)
    tables = merged(tmp_path, found | carry.results({"d": (task, answers)}))
    for name, table in tables.items():
        TABLES[name].check(table.columns)
    assert set(tables["matches"]["over"]) == ({"examples", "tokens"} if over_tokens else {"examples"})
    assert set(tables["matches"]["matched"]) == {0} and tables["matched_latents"].is_empty()
    place = ["features", "condition", "over"]
    paired = {("sae", one, "examples") for one in (*pairings.MATCHED, *pairings.DRAWN, carry.RANDOM_SAE)}
    alone = {(features, condition, None) for features in ("sae", "hidden") for condition in ("source", "native")}
    assert set(tables["match_scores"].select(place).iter_rows()) == paired | alone | {("hidden", "ridge", None)}
    assert set(tables["match_best"].select(place).iter_rows()) == set(tables["match_scores"].select(place).iter_rows())
    verdicts = judge([], None, of_matches(tables["match_claims"]))["verdict"].to_list()
    assert len(verdicts) == 4 and "holds" not in verdicts
