"""Transfer: what is trained on what, scored on what, and what it is worth in native examples."""

from functools import partial

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from refusals import fails
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from studies import study_of
from tessera.base.errors import TesseraError
from tessera.features.spaces import Standardised, Thresholding
from tessera.features.tfidf import Ngrams
from tessera.probes.fit import Folds
from tessera.probes.task import Task
from tessera.results.tables import best_transfers
from tessera.transfer.crossings import crossing, crossings
from tessera.transfer.scenario import Transfer, check_scenarios

SETTINGS = {"seed": 0, "folds": 3, "resamples": 50, "C": [0.01, 0.1, 1.0]}
WORDS = {"no": ["rain", "storm"], "yes": ["moon", "star"], "maybe": ["fog", "mist"]}


def examples(name, size=90, labels=("no", "yes"), seed=0, ids=None):
    """Texts whose first word mostly tells the label; every third is a test example, the last four repeat the first."""
    generator = np.random.default_rng([seed, len(name), ord(name[0])])
    number = np.append(np.arange(size - 4), np.arange(4))
    label = generator.choice(labels, size=size - 4)[number]
    said = np.where(generator.random(size) < 0.8, label, generator.choice(labels, size=size))[number]
    words = generator.choice(["hill", "mill", "dog"], size=size)[number]
    frame = pl.DataFrame(
        {
            "example": pl.Series(range(size), dtype=pl.UInt32),
            "id": ids or [f"{name}{i}" for i in range(size)],
            "text": [
                f"{WORDS[one][i % 2]} {word} {name} {i}" for one, word, i in zip(said, words, number, strict=True)
            ],
            "label": label,
            "split": np.where(number % 3 == 0, "test", "train"),
        }
    )
    return frame.with_columns(group=frame["text"].rank("dense").cast(pl.UInt32) - 1)


def planted(frame, columns=12, seed=0):
    """Sparse features [E, columns]: noise, and a column per label of the first word."""
    generator = np.random.default_rng([seed, len(frame)])
    dense_EW = generator.random((len(frame), columns)) * (generator.random((len(frame), columns)) < 0.3)
    first = [text.split()[0] for text in frame["text"]]
    for column, words in enumerate(WORDS.values()):
        dense_EW[:, column] += [word in words for word in first]
    return sp.csr_array(dense_EW.astype(np.float32))


def kind_of(kind, frames, columns=12):
    """Features of every data set, and what is fitted on the training rows."""
    if kind == "tfidf":
        return {data: frame["text"].to_numpy() for data, frame in frames.items()}, partial(Ngrams, pooling="word")
    sparse = {data: planted(frame, columns) for data, frame in frames.items()}
    if kind == "hidden":
        return {data: features_EW.toarray() for data, features_EW in sparse.items()}, Standardised
    return sparse, partial(Thresholding.fit, threshold=kind)


def run(frames, sources, targets, translated=None, fractions=(1.0,), kind="none", features=None, **settings):
    found, space = kind_of(kind, frames)
    transfer = Transfer(frames, sources, targets, translated or {}, fractions=fractions, **SETTINGS | settings)
    return transfer.run(features or found, space)


def rows_of(frame, split):
    return np.flatnonzero(frame["split"] == split)


def task_run(task, features, space):
    """The cell of a data set by itself, in a space that each fold fits anew."""
    fit, train = space(features[task.train_E]), features[task.train_E]
    folds = Folds(train, task.label_E[task.train_E], task.fold_E, space)
    return task.run(fit.apply(features), fit, folds)


PAIR = {"a": examples("a"), "b": examples("b", 75)}
KINDS = ["none", "0.5", "q50", "hidden", "tfidf"]


@pytest.mark.parametrize("labels", [("no", "yes"), ("no", "yes", "maybe")], ids=len)
@pytest.mark.parametrize("kind", KINDS)
def test_the_diagonal_is_the_task_itself(kind, labels):
    frames = {"a": examples("a", labels=labels)}
    found = run(frames, ["a"], ["a"], fractions=[0.6, 1], kind=kind)
    features, space = kind_of(kind, frames)
    expected = task_run(Task(frames["a"], **SETTINGS), features["a"], space)
    scores = found["scores"].filter(fraction=1.0)
    assert scores["condition"].to_list() == ["native"]
    shared = [column for column in expected.scores.columns if column in scores.columns]
    assert set(expected.scores.columns) - set(shared) == {"split", "tau", "density", "setting"}
    assert scores.select(shared).equals(expected.scores.select(shared))
    answers = found["predictions"].filter(fraction=1.0)
    shared = ["example", "id", "group", "label", "predicted"]
    assert answers.select(shared).equals(expected.predictions.select(shared))


@pytest.mark.parametrize("labels", [("no", "yes"), ("no", "yes", "maybe")], ids=len)
@pytest.mark.parametrize("kind", KINDS)
def test_zero_shot_equals_sklearn(kind, labels):
    """One fit at the recorded C on the source's training rows, in a space fitted on them, scored on the target."""
    frames = {"a": examples("a", labels=labels), "b": examples("b", 75, labels)}
    features, space = kind_of(kind, frames)
    row = run(frames, ["a"], ["b"], kind=kind)["scores"].row(0, named=True)
    train_E, test_E = rows_of(frames["a"], "train"), rows_of(frames["b"], "test")
    apply = space(features["a"][train_E]).apply
    model = LogisticRegression(C=row["C"], class_weight="balanced", max_iter=5000, tol=1e-8)
    model.fit(apply(features["a"][train_E]).astype(np.float64), frames["a"]["label"].gather(train_E).to_numpy())
    matrix_EK, label_E = apply(features["b"][test_E]), frames["b"]["label"].gather(test_E).to_numpy()
    predicted_E, probability_EC = model.predict(matrix_EK), model.predict_proba(matrix_EK)
    auc = [roc_auc_score(label_E == label, p) for label, p in zip(model.classes_, probability_EC.T, strict=True)]
    assert (row["condition"], row["examples"], row["training_examples"]) == ("source", len(test_E), len(train_E))
    assert row["macro_f1"] == pytest.approx(f1_score(label_E, predicted_E, average="macro"))
    assert row["accuracy"] == pytest.approx(accuracy_score(label_E, predicted_E))
    assert row["roc_auc"] == pytest.approx(np.mean(auc), abs=1e-3)
    assert row["macro_f1_low"] <= row["macro_f1"] <= row["macro_f1_high"]


def test_a_source_with_a_class_that_the_target_lacks():
    frames = {"a": examples("a", labels=("no", "yes", "maybe")), "b": examples("b")}
    found = run(frames, ["a"], ["b"])
    label, predicted = found["predictions"]["label"], found["predictions"]["predicted"]
    expected = f1_score(label, predicted, average="macro", labels=["no", "yes"])
    assert found["scores"]["macro_f1"][0] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["none", "hidden", "tfidf"])
def test_joint_trains_on_the_union(kind):
    """As one data set of both would, whose ids are those of `assign_parts`: source and id."""
    features, space = kind_of(kind, PAIR)
    scores = run(PAIR, ["a", "b"], ["a", "b"], kind=kind)["scores"]
    renamed = [frame.with_columns(id=pl.lit(f"{data}:") + pl.col("id")) for data, frame in PAIR.items()]
    union = pl.concat(renamed).drop("example").with_row_index("example")
    union = union.with_columns(group=union["text"].rank("dense"))
    union_EK = sp.vstack(list(features.values()), "csr") if kind == "none" else np.concatenate(list(features.values()))
    expected = task_run(Task(union, **SETTINGS), union_EK, space)
    assert scores["condition"].to_list() == ["joint", "joint"]
    for column in ("C", "cv_macro_f1", "training_examples", "n_features"):
        assert scores[column].unique().to_list() == expected.scores[column].to_list()
    for number, data in enumerate(PAIR):
        answers = expected.predictions.filter(pl.col("id").str.starts_with(f"{data}:"))
        f1 = f1_score(answers["label"], answers["predicted"], average="macro")
        assert scores["macro_f1"][number] == pytest.approx(f1)


def test_each_source_of_a_joint_fit_gives_its_share():
    transfer = Transfer(PAIR, ["a", "b"], ["a"], {}, fractions=[0.5, 1.0], **SETTINGS)
    for data in PAIR:
        alone = Transfer(PAIR, [data], [data], {}, fractions=[0.5, 1.0], **SETTINGS)
        for fraction in (0.5, 1.0):
            rows_E = transfer.subsets[fraction]["rows"][data]
            np.testing.assert_array_equal(rows_E, alone.subsets[fraction]["rows"][data])
            assert set(PAIR[data]["split"].gather(rows_E)) == {"train"}
    half, whole = (transfer.subsets[fraction]["rows"] for fraction in (0.5, 1.0))
    assert all(set(half[data]) < set(whole[data]) for data in PAIR)


def translation(frame, seed=1):
    """The rows in another order, with other texts and further rows; ids and labels as they were."""
    order = np.random.default_rng(seed).permutation(len(frame))
    other = frame[order].with_columns(text="traduit " + pl.col("text"), split=pl.lit("train"))
    more = examples("x", 20).with_columns(text="de plus " + pl.col("text"))
    other = pl.concat([more, other]).drop("example").with_row_index("example")
    return other.with_columns(group=pl.col("example"))


@pytest.mark.parametrize("kind", ["0.5", "hidden", "tfidf"])
def test_translated_scores_the_translations_of_the_targets_test_examples(kind):
    frames = PAIR | {"t": translation(PAIR["b"])}
    features, space = kind_of(kind, frames)
    if kind != "tfidf":
        features = {data: part * np.float32(0.6 if data == "t" else 1) for data, part in features.items()}
    found = run(frames, ["a"], ["b"], {"b": "t"}, kind=kind, features=features)
    assert found["scores"].select("target", "condition").rows() == [("b", "source"), ("b", "translated")]
    row, answers = found["scores"].row(1, named=True), found["predictions"].filter(condition="translated")
    test = PAIR["b"].filter(split="test")
    assert answers.select("example", "id", "group", "label").equals(test.select("example", "id", "group", "label"))
    number = {id: row for row, id in enumerate(frames["t"]["id"])}
    rows_E, train_E = [number[id] for id in test["id"]], rows_of(PAIR["a"], "train")
    apply = space(features["a"][train_E]).apply
    model = LogisticRegression(C=row["C"], class_weight="balanced", max_iter=5000, tol=1e-8)
    model.fit(apply(features["a"][train_E]).astype(np.float64), PAIR["a"]["label"].gather(train_E).to_numpy())
    assert answers["predicted"].to_list() == model.predict(apply(features["t"][rows_E])).tolist()
    assert row["examples"] == len(test)


def test_native_is_never_translated():
    frames = PAIR | {"t": translation(PAIR["b"])}
    assert run(frames, ["b"], ["b"], {"b": "t"})["scores"]["condition"].to_list() == ["native"]
    joint = run(frames, ["a", "b"], ["b"], {"b": "t"})["scores"]
    assert joint["condition"].to_list() == ["joint", "translated"]


def test_translations_that_lack_ids():
    test = PAIR["b"].filter(split="test")
    lacking = translation(PAIR["b"]).filter(pl.col("id") != test["id"][3])
    fails(
        lambda: run(PAIR | {"t": lacking}, ["a"], ["b"], {"b": "t"}),
        f"t lacks 1 of the {len(test)} test examples of b, such as id '{test['id'][3]}'",
    )


def test_translations_under_the_ids_of_others():
    moved = translation(PAIR["b"]).with_columns(label=pl.col("label").shift(1, fill_value="no"))
    fails(lambda: run(PAIR | {"t": moved}, ["a"], ["b"], {"b": "t"}), "t and b label", "differently, such as id 'b")


def test_a_label_that_the_source_does_not_have():
    frames = {"a": examples("a"), "b": examples("b", labels=("no", "yes", "maybe"))}
    fails(lambda: run(frames, ["a"], ["a", "b"]), "b has the label 'maybe'", "['a']")
    assert len(run(frames, ["a", "b"], ["a", "b"])["scores"]) == 2


@pytest.mark.parametrize("sources", [["a"], ["a", "b"]], ids=len)
def test_a_fraction_too_small_for_the_folds(sources):
    frames = {data: frame.with_columns(label=pl.lit("no")) for data, frame in PAIR.items()}
    few = pl.when(pl.col("id").is_in(["a1", "a2", "a4"])).then(pl.lit("yes")).otherwise("label")
    frames["a"] = frames["a"].with_columns(label=few)
    frames["a"] = frames["a"].filter(~pl.col("id").is_in([f"a{i}" for i in range(86, 90)]))
    assert len(run(frames, sources, ["b"], fractions=[0.9, 1.0])["scores"]) == 2
    fails(lambda: run(frames, sources, ["b"], fractions=[0.5, 1.0]), "fraction 0.5", "'yes' has 2", "probe.folds, 3")


@pytest.mark.parametrize("kind", KINDS)
def test_test_examples_never_influence_the_fit(kind):
    """Another target beside it, whose test examples (and the source's own) change: the first one's scores stay."""
    frames = PAIR | {"c": examples("c", 60)}
    features, _ = kind_of(kind, frames)
    other, moved = dict(features), dict(frames)
    for data in "ac":
        order_E, test_E = np.arange(len(frames[data])), rows_of(frames[data], "test")
        order_E[test_E] = test_E[::-1]
        moved[data] = frames[data].with_columns(label=frames[data]["label"].gather(order_E))
        other[data] = features[data][np.where(frames[data]["split"] == "test", 3, order_E)]
    both = {"sources": ["a"], "targets": ["a", "b", "c"], "fractions": [0.5, 1.0], "kind": kind}
    first, second = run(frames, features=features, **both), run(moved, features=other, **both)
    for part in first:
        assert first[part].filter(target="b").equals(second[part].filter(target="b"))
    about = ["C", "cv_macro_f1", "n_features", "training_examples"]
    assert first["scores"].select(about).equals(second["scores"].select(about))
    assert not first["scores"].filter(target="c").equals(second["scores"].filter(target="c"))


@pytest.mark.parametrize("kind", ["none", "hidden"])
def test_a_space_of_any_width_and_of_one_only(kind):
    for columns in (4, 300):
        features, space = kind_of(kind, PAIR, columns)
        transfer = Transfer(PAIR, ["a"], ["b"], {}, fractions=[1.0], **SETTINGS)
        assert transfer.run(features, space)["scores"]["n_features"].to_list() == [columns]
    narrow = features | {"b": features["b"][:, :100]}
    fails(lambda: transfer.run(narrow, space), "different widths", "300", "100")


def test_texts_that_the_probe_was_trained_on_are_counted():
    text = PAIR["a"]["text"].gather(rows_of(PAIR["a"], "train"))
    test_E = rows_of(PAIR["b"], "test")
    leaking = PAIR["b"].with_columns(pl.Series("text", PAIR["b"]["text"].scatter(test_E[:5], text[:5])))
    frames = {"a": PAIR["a"], "b": leaking, "t": translation(PAIR["b"])}
    frames["t"] = frames["t"].with_columns(
        text=pl.when(pl.col("id") == leaking["id"][int(test_E[0])]).then(pl.lit(text[0])).otherwise("text")
    )
    scores = run(frames, ["a"], ["a", "b"], {"b": "t"}, [0.4, 1.0])["scores"]
    assert scores.filter(fraction=1.0)["texts_in_training"].to_list() == [0, 5, 1]
    assert scores.filter(fraction=0.4, condition="source")["texts_in_training"].item() < 5


def test_rows_follow_the_numbers_of_examples():
    frames = {data: frame.sample(fraction=1, shuffle=True, seed=2) for data, frame in PAIR.items()}
    features, _ = kind_of("none", PAIR)
    first, second = (run(some, ["a"], ["b"], features=features) for some in (PAIR, frames))
    assert first["scores"].equals(second["scores"]) and first["predictions"].equals(second["predictions"])


@pytest.mark.parametrize("fractions", [[1], [1, 0.5], [0.5, 1.0]], ids=str)
def test_fractions_are_of_one_type(fractions):
    for part in run(PAIR, ["a"], ["b"], fractions=fractions).values():
        assert part.schema["fraction"] == pl.Float64
        assert part["fraction"].unique().sort().to_list() == sorted(fractions)


@pytest.mark.parametrize(
    ("transferred", "expected"),
    [
        (0.95, (None, False)),
        (0.5, (10, True)),
        (0.6, (10, True)),
        (0.65, (10 * 10**0.5, False)),
        (0.7, (100, False)),
        (0.75, (100 * 10 ** (0.05 / 0.2), False)),
        (0.9, (1000, False)),
        (float("nan"), (None, False)),
    ],
)
def test_crossing_by_hand(transferred, expected):
    found = crossing(np.array([10, 100, 1000]), np.array([0.6, 0.7, 0.9]), transferred)
    assert found == (pytest.approx(expected[0]), expected[1])


def test_a_curve_that_falls_again_is_crossed_at_first():
    examples_F, f1_F = np.array([10, 100, 1000, 10000]), np.array([0.5, 0.7, 0.6, 0.9])
    assert crossing(examples_F, f1_F, 0.65) == (pytest.approx(10 * 10**0.75), False)
    assert crossing(examples_F, f1_F, 0.8) == (pytest.approx(1000 * 10 ** (2 / 3)), False)


def table(*rows):
    """Rows of (source, target, condition, fraction, pooling, cv_macro_f1, macro_f1) as the merged table has them."""
    names = ["source", "target", "condition", "fraction", "pooling", "cv_macro_f1", "macro_f1"]
    literals = {
        "scenario": "s",
        "repeat": 0,
        "features": "sae",
        "control": False,
        "frozen": None,
        "model": "m",
        "layer": 1,
        "width": "1k",
    }
    place = [pl.lit(value, pl.String if value is None else None).alias(key) for key, value in literals.items()]
    threshold = pl.lit(None, dtype=pl.String).alias("threshold")
    share = (pl.col("fraction") * 100).cast(pl.Int64).alias("training_examples")
    return pl.DataFrame(rows, schema=names, orient="row").select(*place, threshold, *names, share)


def cells():
    """The cell `max` is the best of source a on the whole split, `sum` on the half; `sum` is the best of b."""
    cv = {("a", "sum", 0.5): 0.9, ("a", "sum", 1.0): 0.7, ("a", "max", 0.5): 0.5, ("a", "max", 1.0): 0.8}
    cv |= {("b", "sum", 0.5): 0.6, ("b", "sum", 1.0): 0.8, ("b", "max", 0.5): 0.9, ("b", "max", 1.0): 0.75}
    f1 = {("a", "a"): 0.7, ("a", "b"): 0.55, ("b", "a"): 0.6, ("b", "b"): 0.8}
    return table(
        *(
            (source, target, "native" if source == target else "source", fraction, pooling, value, f1[source, target])
            for (source, pooling, fraction), value in cv.items()
            for target in "ab"
        )
    )


def test_the_best_cell_is_chosen_on_the_whole_source_and_never_on_a_target():
    scores = cells()
    best = best_transfers(scores)
    assert best.select("source", "pooling").unique().sort("source").rows() == [("a", "max"), ("b", "sum")]
    assert best.group_by("source").len().sort("source").rows() == [("a", 4), ("b", 4)]
    generator = np.random.default_rng(0)
    for _ in range(5):
        other = best_transfers(scores.with_columns(macro_f1=pl.Series(generator.random(len(scores)))))
        assert other.drop("macro_f1").equals(best.drop("macro_f1"))


def test_each_kind_of_features_and_scenario_has_a_best_cell():
    scores = cells()
    others = (("features", "hidden"), ("scenario", "t"), ("control", True), ("frozen", "all"))
    scores = pl.concat([scores, *(scores.with_columns(pl.lit(value).alias(key)) for key, value in others)])
    best = best_transfers(scores)
    assert best.group_by("scenario", "features", "control", "frozen", "source").len()["len"].to_list() == [4] * 10


def test_a_frozen_sae_that_is_better_is_not_the_best_cell_of_the_sae():
    frozen = cells().with_columns(frozen=pl.lit("all"), width=pl.lit("1k_frozen"), cv_macro_f1=pl.lit(1.0))
    best = best_transfers(pl.concat([frozen, cells()]))
    assert best.filter(pl.col("frozen").is_null()).drop("frozen").equals(best_transfers(cells()).drop("frozen"))
    assert best.filter(frozen="all")["cells_searched"].to_list() == [2] * 8
    found = crossed(best)
    assert found.group_by("frozen").len().sort("frozen").rows() == [(None, 2), ("all", 2)]


def answered(best, size=1000):
    """Predictions of `size` examples whose macro F1 is what `best` says: as many mistakes in either of two classes."""
    frames = []
    for row in best.iter_rows(named=True):
        number = np.arange(size)
        wrong = number // 2 < round((1 - row["macro_f1"]) * size / 2)
        answers = pl.DataFrame({"example": number, "group": number, "label": np.array(["no", "yes"])[number % 2]})
        answers = answers.with_columns(predicted=pl.Series(np.array(["no", "yes"])[(number + wrong) % 2]))
        place = {
            key: value for key, value in row.items() if key not in ("macro_f1", "cv_macro_f1", "control", "frozen")
        }
        frames.append(answers.with_columns(pl.lit(value, best.schema[key]).alias(key) for key, value in place.items()))
    return pl.concat(frames, how="vertical_relaxed").lazy()


def crossed(best):
    return crossings(best, answered(best), {"s": ["a", "c"]}, resamples=100, seed=0)


def test_crossings_of_a_table():
    found = crossed(
        table(
            *(("b", "b", "native", share, "sum", 0.5, f1) for share, f1 in ((1.0, 0.8), (0.1, 0.6), (0.5, 0.7))),
            *(("a", "b", "source", share, "sum", 0.5, f1) for share, f1 in ((0.1, 0.99), (1.0, 0.65))),
            ("c", "b", "source", 1.0, "sum", 0.5, 0.9),
            ("joint", "b", "joint", 1.0, "sum", 0.5, 0.5),
            ("joint", "a", "joint", 1.0, "sum", 0.5, 0.5),  # a is among its sources
            ("a", "a", "native", 1.0, "sum", 0.5, 0.8),
            ("a", "b", "translated", 1.0, "sum", 0.5, 0.8),
            ("a", "z", "source", 1.0, "sum", 0.5, 0.8),
        )
    )
    assert found.select("source", "condition", "target").rows() == [
        ("a", "source", "b"),
        ("c", "source", "b"),
        ("joint", "joint", "b"),
        ("a", "translated", "b"),
    ]
    assert found["native_examples"].to_list() == [pytest.approx(500**0.5, rel=0.02), None, 10, pytest.approx(100)]
    ends = found.select("native_examples_low", "native_examples", "native_examples_high")
    assert all(low <= value <= (high or np.inf) for low, value, high in ends.iter_rows() if value)
    assert ends["native_examples_low"][0] < ends["native_examples"][0] < ends["native_examples_high"][0]
    assert ends.row(1)[1:] == (None, None)
    assert found["below_smallest"].to_list() == [False, False, True, False]
    assert found["native_macro_f1"].to_list() == [0.8] * 4


def test_crossings_of_nothing():
    found = crossed(table(("a", "a", "native", 1.0, "sum", 0.5, 0.5)))
    assert found.is_empty()


def test_a_scenario_is_checked_before_anything_runs(tmp_path):
    for data, labels in (("a", ("no", "yes")), ("b", ("no", "perhaps"))):
        rows = [{"text": f"{data} {number}", "label": labels[number % 2]} for number in range(60)]
        pl.DataFrame(rows).write_csv(tmp_path / f"{data}.csv")
    columns = {"text": "text", "label": "label"}
    far = {"sources": ["a"], "targets": ["b"], "translated": {}, "fractions": [1.0], "joint": False}
    study = study_of(
        probe={"folds": 3, "resamples": 100, "C": [1.0]},
        datasets={data: {"path": str(tmp_path / f"{data}.csv"), **columns} for data in "ab"},
        transfers={"far": far},
    )
    with pytest.raises(TesseraError, match=r"config key transfers.far: .*'perhaps'"):
        check_scenarios(study)
    far |= {"targets": ["a"], "fractions": [0.02, 1.0]}
    with pytest.raises(TesseraError, match=r"config key transfers.far: fraction 0.02 .* class 'no' has 1 distinct"):
        check_scenarios(study)
    far["fractions"] = [1.0]
    check_scenarios(study)


def test_no_crossing_is_a_table_without_rows():
    place = {"scenario": "s", "source": "a", "features": "sae", "model": "m"}
    best, predictions = (
        run(PAIR, ["a"], ["b"])[part].with_columns(pl.lit(value).alias(key) for key, value in place.items())
        for part in ("scores", "predictions")
    )
    best = best.with_columns(control=pl.lit(False), frozen=pl.lit(None, pl.String))
    found = crossings(best, predictions.lazy(), {"s": ["a"]}, resamples=50, seed=0)
    assert found.is_empty() and {"native_examples", "target"} <= set(found.columns)
