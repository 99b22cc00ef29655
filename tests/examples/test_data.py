"""Data: readers, the one split, samples, shifts, and one line for every bad row."""

import gzip
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import fails
from studies import study_of
from tessera.base.errors import TesseraError
from tessera.examples.examples import count_examples, describe, load_examples
from tessera.examples.splits import assign_parts, classes, nested, resplit, shuffled, split

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
NAMES = {"text": "text", "label": "label"}


def rows(size=60, classes=("yes", "no", "maybe"), start=0):
    """Distinct texts, some with commas, quotes, tabs and line breaks; the classes in turn."""
    marks = [" plain", ", comma", ' "quote"', "\ttab", "\nline", " ünï"]
    numbers = range(start, start + size)
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in numbers],
            "text": [f"text {i}{marks[i % len(marks)]}" for i in numbers],
            "label": [classes[i % len(classes)] for i in numbers],
        }
    )


def load(folder, frame, *, seed=0, folds=5, **spec):
    path = folder / "data.parquet"
    frame.write_parquet(path)
    return load_examples("d", {"path": str(path), **NAMES, **spec}, seed=seed, folds=folds)


def write_zst(path, content):
    with pa.output_stream(path, compression="zstd") as out:
        out.write(content)


WRITERS = {
    "data.csv": lambda frame, path: frame.write_csv(path),
    "data.tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "data.jsonl": lambda frame, path: frame.write_ndjson(path),
    "data.parquet": lambda frame, path: frame.write_parquet(path),
    "data.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
    "data.csv.zst": lambda frame, path: write_zst(path, frame.write_csv().encode()),
    "data.tsv.zst": lambda frame, path: write_zst(path, frame.write_csv(separator="\t").encode()),
    "data.jsonl.zst": lambda frame, path: write_zst(path, frame.write_ndjson().encode()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_readers_give_the_same_examples(tmp_path, name):
    expected = load(tmp_path, rows(), id="id")
    path = tmp_path / name
    WRITERS[name](rows(), path)
    found = load_examples("d", {"path": str(path), **NAMES, "id": "id"}, seed=0, folds=5)
    assert found.equals(expected)
    assert found["text"].to_list() == rows()["text"].to_list()


def test_columns(tmp_path):
    frame = load(tmp_path, rows())
    assert dict(frame.schema) == {
        "example": pl.UInt32,
        "id": pl.String,
        "text": pl.String,
        "label": pl.String,
        "split": pl.String,
        "group": pl.UInt32,
        "near": pl.UInt32,
    }
    assert frame["example"].to_list() == list(range(60))
    assert frame["id"].to_list() == [str(i) for i in range(60)]


def test_other_column_names(tmp_path):
    renamed = rows().rename({"text": "prompt", "label": "target"}).with_columns(text=pl.lit("?"), label=pl.lit("?"))
    found = load(tmp_path, renamed, text="prompt", label="target", id="id")
    assert found.equals(load(tmp_path, rows(), id="id"))


@pytest.mark.parametrize("values", [[0, 1], [True, False], ["0", "1"]], ids=str)
def test_labels_become_strings(tmp_path, values):
    found = load(tmp_path, rows().with_columns(label=pl.Series(values * 30)))
    assert set(found["label"]) == {str(value).lower() for value in values}


def test_equal_texts_share_a_group(tmp_path):
    frame = load(tmp_path, pl.concat([rows(), rows(20).with_columns(id=pl.lit("again ") + pl.col("id"))]), id="id")
    assert frame["group"].n_unique() == 60
    assert frame.group_by("text").agg(pl.col("group").n_unique())["group"].unique().to_list() == [1]
    assert frame.group_by("text").agg(pl.col("split").n_unique())["split"].unique().to_list() == [1]


texts = st.lists(st.tuples(st.integers(0, 25), st.sampled_from("abc")), min_size=1, max_size=60)


def numbered(pairs):
    """Examples whose texts repeat; the ids are unique."""
    text, label = zip(*pairs, strict=True)
    ids = [f"r{i}" for i in range(len(pairs))]
    return pl.DataFrame({"id": ids, "text": [f"text {i}" for i in text], "label": label})


@settings(max_examples=50, deadline=None)
@given(pairs=texts, parts=st.integers(2, 6), random=st.randoms(use_true_random=False))
def test_parts_do_not_depend_on_the_order_of_rows(pairs, parts, random):
    frame = numbered(pairs)
    order = list(range(len(frame)))
    random.shuffle(order)
    part_E = assign_parts(frame, parts, seed=0, purpose="test")
    np.testing.assert_array_equal(assign_parts(frame[order], parts, seed=0, purpose="test"), part_E[order])


@settings(max_examples=50, deadline=None)
@given(pairs=texts, parts=st.integers(2, 6), seed=st.integers(0, 100))
def test_parts_keep_equal_texts_together_and_classes_even(pairs, parts, seed):
    frame = numbered(pairs)
    frame = frame.with_columns(part=pl.Series(assign_parts(frame, parts, seed=seed, purpose="test")))
    assert frame["part"].is_between(0, parts - 1).all()
    assert (frame.group_by("text").agg(pl.col("part").n_unique())["part"] == 1).all()
    by_text = frame.group_by("text").agg(pl.col("label").min(), pl.col("part").first())
    for label in by_text["label"].unique():
        count_P = np.bincount(by_text.filter(label=label)["part"], minlength=parts)
        assert count_P.max() - count_P.min() <= 1
    count_P = np.bincount(by_text["part"], minlength=parts)
    assert count_P.max() - count_P.min() <= 1


def test_parts_depend_on_seed_and_purpose_only():
    frame = rows()
    part_E = assign_parts(frame, 5, seed=0, purpose="folds")
    assert (assign_parts(frame, 5, seed=0, purpose="folds") == part_E).all()
    assert (assign_parts(frame, 5, seed=1, purpose="folds") != part_E).any()
    assert (assign_parts(frame, 5, seed=0, purpose="test split") != part_E).any()
    other_texts = frame.with_columns(text=pl.lit("other ") + pl.col("text"))
    assert (assign_parts(other_texts, 5, seed=0, purpose="folds") == part_E).all()


def test_parts_are_the_same_in_every_version():
    """If this fails, every published split changes: raise the version of the examples stage."""
    assert assign_parts(rows(12), 3, seed=0, purpose="folds").tolist() == [0, 0, 0, 2, 2, 1, 2, 1, 0, 1, 1, 2]


@settings(max_examples=50, deadline=None)
@given(pairs=texts, low=st.floats(0.01, 1), high=st.floats(0.01, 1), random=st.randoms(use_true_random=False))
def test_shares_are_nested_in_any_order_of_rows(pairs, low, high, random):
    low, high = sorted((low, high))
    frame = numbered(pairs)
    few_E, many_E = nested(frame, low, seed=0), nested(frame, high, seed=0)
    assert not (few_E & ~many_E).any()
    assert nested(frame, 1.0, seed=0).all()
    assert frame.filter(few_E)["text"].is_in(frame.filter(~few_E)["text"].implode()).sum() == 0
    order = list(range(len(frame)))
    random.shuffle(order)
    assert nested(frame[order], low, seed=0).to_list() == few_E.gather(order).to_list()
    labels = pl.col("label").unique().sort().str.join(",")
    by_text = frame.with_columns(kept=few_E).group_by("text").agg(labels, pl.col("kept").first())
    for size, kept in by_text.group_by("label").agg(pl.len(), pl.col("kept").sum()).select("len", "kept").iter_rows():
        assert low * size - 1e-6 <= kept < low * size + 1


@pytest.mark.parametrize(("fraction", "kept"), [(0.07, 7), (0.1, 10), (0.101, 11), (0.55, 55), (0.001, 1), (1.0, 100)])
def test_a_share_of_each_class_is_rounded_up(fraction, kept):
    frame = rows(200, classes=("yes", "no"))
    assert frame.filter(nested(frame, fraction, seed=0))["label"].value_counts()["count"].to_list() == [kept, kept]


def test_shares_depend_on_the_seed():
    assert (nested(rows(), 0.5, seed=0) != nested(rows(), 0.5, seed=1)).any()


def test_one_example_in_five_is_in_the_test_split(tmp_path):
    frame = load(tmp_path, rows(300))
    counts = frame.group_by("split", "label").len().sort("split", "label")
    assert counts.filter(split="test")["len"].to_list() == [20, 20, 20]
    assert counts.filter(split="train")["len"].to_list() == [80, 80, 80]


def test_split_does_not_depend_on_the_order_of_rows(tmp_path):
    first = load(tmp_path, rows(), id="id").select("id", "split").sort("id")
    second = load(tmp_path, rows().reverse(), id="id").select("id", "split").sort("id")
    assert first.equals(second)


def test_split_depends_on_the_seed(tmp_path):
    assert load(tmp_path, rows())["split"].to_list() != load(tmp_path, rows(), seed=1)["split"].to_list()


def uneven(size=200):
    """Three parts yes, one part no."""
    return rows(size, classes=("yes", "yes", "no", "yes"))


def test_sample_is_stratified_seeded_and_in_order(tmp_path):
    found = load(tmp_path, uneven(), id="id", max_examples=80)
    assert len(found) == 80
    assert found.group_by("label").len().sort("label").rows() == [("no", 20), ("yes", 60)]
    order = uneven()["id"].to_list()
    assert found["id"].to_list() == sorted(found["id"], key=order.index)
    assert found.equals(load(tmp_path, uneven(), id="id", max_examples=80))
    assert set(found["id"]) != set(load(tmp_path, uneven(), id="id", max_examples=80, seed=1)["id"])
    assert set(found["id"]) == set(load(tmp_path, uneven().reverse(), id="id", max_examples=80)["id"])


def test_samples_are_nested(tmp_path):
    sizes = [40, 60, 100, 200, 1000]
    samples = [set(load(tmp_path, uneven(), id="id", max_examples=size)["id"]) for size in sizes]
    assert [len(sample) for sample in samples] == [40, 60, 100, 200, 200]
    assert all(small <= large for small, large in pairwise(samples))


def with_split(frame, every=4):
    return frame.with_columns(
        split=pl.when(pl.int_range(pl.len()) % every == 0).then(pl.lit("test")).otherwise(pl.lit("train"))
    )


def test_own_split_with_a_further_test_split(tmp_path):
    frame = with_split(rows())
    frame = frame.with_columns(split=pl.when(pl.int_range(pl.len()) < 6).then(pl.lit("dev")).otherwise("split"))
    found = load(tmp_path, frame, split="split")
    assert found["split"].to_list() == frame["split"].to_list()
    assert set(found["split"]) == {"train", "test", "dev"}


def test_sample_keeps_the_shares_of_an_own_split(tmp_path):
    found = load(tmp_path, with_split(uneven(400).sort("label")), split="split", max_examples=80)
    counts = found.group_by("split", "label").len().sort("split", "label")["len"].to_list()
    assert counts == [5, 15, 15, 45]


def test_shift(tmp_path):
    rows(6, start=100).write_csv(tmp_path / "shift.csv")
    plain = load(tmp_path, rows(), id="id")
    found = load(tmp_path, rows(), id="id", shifts={"fr": {"path": str(tmp_path / "shift.csv")}})
    assert found[:60].drop("group", "near").equals(plain.drop("group", "near"))
    assert found["example"].to_list() == list(range(66))
    assert found[60:]["split"].unique().to_list() == ["fr"]
    assert found[60:]["id"].to_list() == [f"fr:r{i}" for i in range(100, 106)]
    assert found[60:]["label"].to_list() == rows(6, start=100)["label"].to_list()


def test_shift_with_its_own_columns_and_a_text_of_the_training_split(tmp_path):
    rows(6).rename({"text": "texte", "label": "classe"}).write_csv(tmp_path / "shift.csv")
    shift = {"path": str(tmp_path / "shift.csv"), "text": "texte", "label": "classe"}
    found = load(tmp_path, rows(), shifts={"fr": shift})
    assert found[60:]["group"].to_list() == found[:6]["group"].to_list()


def test_count_examples(tmp_path):
    rows(6, start=100).write_csv(tmp_path / "shift.csv")
    rows().write_csv(tmp_path / "data.csv")
    shifts = {"fr": {"path": str(tmp_path / "shift.csv")}}
    local = {"path": str(tmp_path / "data.csv"), **NAMES, "max_examples": 50, "shifts": shifts}
    remote = {"hub": "nobody/nothing", "max_examples": 500, "shifts": shifts}
    study = study_of(probe={"folds": 5}, datasets={"local": local, "remote": remote})
    assert count_examples("local", study) == 56
    assert count_examples("remote", study) == 506


def test_describe_counts_leakage(tmp_path):
    frame = with_split(rows(40, classes=("yes", "no", "yes", "yes", "no")))
    test = frame["split"] == "test"
    leaked = frame["text"].gather([1, 1, 2])  # three test examples with two training texts
    text = frame["text"].to_list()
    for row, value in zip(test.arg_true()[:3], leaked, strict=True):
        text[row] = value
    table = describe(load(tmp_path, frame.with_columns(text=pl.Series(text)), split="split", folds=3))
    found = {row["split"]: row for row in table.to_dicts()}
    assert (found["train"]["examples"], found["test"]["examples"]) == (30, 10)
    assert (found["train"]["texts_in_training"], found["test"]["texts_in_training"]) == (0, 3)
    assert (found["train"]["repeated_texts"], found["test"]["repeated_texts"]) == (0, 1)
    assert (found["train"]["classes"], found["test"]["classes"]) == (2, 2)
    share = (frame.filter(~test)["label"] == "yes").mean()
    assert found["train"]["largest_class"] == pytest.approx(share)


def test_describe_finds_no_leakage_in_a_seeded_split(tmp_path):
    twice = pl.concat([rows(), rows().with_columns(id=pl.lit("again ") + pl.col("id"))])
    assert describe(load(tmp_path, twice, id="id"))["texts_in_training"].to_list() == [0, 0]


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "2", "9"], ["2", "9", "10"]),
        (["1", "-1", "0"], ["-1", "0", "1"]),
        (["b", "a", "10", "9"], ["10", "9", "a", "b"]),
        (["true", "false"], ["false", "true"]),
    ],
)
def test_classes(labels, order):
    assert classes(pl.Series(labels)) == order


def test_shuffled_holds_each_text_once_in_a_seeded_order():
    frame = pl.concat([rows(), rows(20)])
    found = shuffled(frame, seed=0)["text"].to_list()
    assert sorted(found) == sorted(rows()["text"])
    assert found != rows()["text"].to_list()
    assert shuffled(frame.reverse(), seed=0)["text"].to_list() == found
    assert shuffled(frame, seed=1)["text"].to_list() != found


def change(column, row, value):
    """Rows with one value changed."""
    values = rows()[column].to_list()
    values[row] = value
    return rows().with_columns(pl.Series(column, values))


SKEWED = rows().with_columns(label=pl.Series(["yes"] * 57 + ["no"] * 3))
BAD = {
    "absent text column": (rows(), {"text": "body"}, ["datasets.d.text", "'body'", "id, text, label"]),
    "absent label column": (rows(), {"label": "class"}, ["datasets.d.label", "'class'"]),
    "absent id column": (rows(), {"id": "key"}, ["datasets.d.id", "'key'"]),
    "absent split column": (rows(), {"split": "part"}, ["datasets.d.split", "'part'"]),
    "one class": (rows(classes=("yes",)), {}, ["datasets.d.label", "one class only", "'yes'"]),
    "one training class": (
        rows(classes=("yes", "no")).with_columns(split=pl.Series(["train", "test"] * 30)),
        {"split": "split"},
        ["datasets.d.label", "one class only", "'yes'"],
    ),
    "too few for the folds": (SKEWED, {}, ["datasets.d", "'no'", "fewer than probe.folds, 5"]),
    "empty text": (change("text", 7, ""), {}, ["datasets.d.text", "row 7", "empty"]),
    "blank text": (change("text", 7, " \n\t"), {}, ["datasets.d.text", "row 7", "empty"]),
    "no text": (change("text", 7, None), {}, ["datasets.d.text", "row 7", "empty"]),
    "a NUL byte in a text": (change("text", 3, "a\0b"), {}, ["datasets.d.text", "row 3", "NUL"]),
    "texts that are numbers": (rows().with_columns(text=pl.int_range(60)), {}, ["datasets.d.text", "Int64"]),
    "no label": (change("label", 3, None), {}, ["datasets.d.label", "row 3"]),
    "blank label": (change("label", 3, " "), {}, ["datasets.d.label", "row 3"]),
    "an id twice": (change("id", 9, "r2"), {"id": "id"}, ["datasets.d.id", "row 9", "'r2'"]),
    "no id": (change("id", 9, None), {"id": "id"}, ["datasets.d.id", "row 9"]),
    "float labels": (rows().with_columns(label=pl.int_range(60) / 2), {}, ["datasets.d.label", "Float64", "whole"]),
    "fractions as strings": (
        rows().with_columns(label=pl.Series(["0.0", "1.0"] * 30)),
        {},
        ["datasets.d.label", "'0.0'", "whole"],
    ),
    "split without test": (
        rows().with_columns(split=pl.Series(["train", "dev"] * 30)),
        {"split": "split"},
        ["datasets.d.split", "'split'", "train and test", "dev"],
    ),
    "no split": (
        rows().with_columns(split=pl.Series(["train", "test", None] * 20)),
        {"split": "split"},
        ["datasets.d.split", "row 2"],
    ),
    "a class of the test split alone": (
        rows().with_columns(split=pl.Series(["train", "train", "test"] * 20)),
        {"split": "split"},
        ["datasets.d.label", "'maybe'", "'test'", "not in training"],
    ),
}


@pytest.mark.parametrize(("frame", "spec", "expected"), BAD.values(), ids=BAD)
def test_bad_data(tmp_path, frame, spec, expected):
    fails(lambda: load(tmp_path, frame, **spec), *expected)


BAD_FILES = {
    "missing": ("absent.csv", None, ["datasets.d.path", "absent.csv"]),
    "unsupported": ("data.xlsx", b"x", ["datasets.d.path", "'data.xlsx'", ".csv", ".parquet"]),
    "no suffix": ("data", b"x", ["datasets.d.path", "'data'"]),
    "empty": ("data.csv", b"", ["datasets.d.path", "data.csv"]),
    "damaged": ("data.parquet", b"PAR1 no parquet", ["datasets.d.path", "data.parquet"]),
    "no json": ("data.jsonl", b"{not json\n", ["datasets.d.path", "data.jsonl"]),
    "not compressed": ("data.csv.zst", b"\x28\xb5\x2f\xfd damaged", ["datasets.d.path", "data.csv.zst"]),
    "rows of other lengths": ("data.csv", b"text,label\na,1,2,3\n", ["datasets.d.path", "data.csv"]),
    "not UTF-8": ("data.csv", b"text,label\n\xff\xfe,1\n", ["datasets.d.path", "data.csv"]),
}


@pytest.mark.parametrize(("name", "content", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(tmp_path, name, content, expected):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    fails(lambda: load_examples("d", {"path": str(path), **NAMES}, seed=0, folds=5), *expected)


def test_bad_shifts(tmp_path):
    path = tmp_path / "shift.csv"
    rows(6, classes=("yes", "oui")).write_csv(path)
    fails(lambda: load(tmp_path, rows(), shifts={"fr": {"path": str(path)}}), "datasets.d.shifts.fr.label", "'oui'")
    fails(lambda: load(tmp_path, rows(), shifts={"test": {"path": str(path)}}), "datasets.d.shifts.test", "already")
    absent = str(tmp_path / "absent.csv")
    fails(lambda: load(tmp_path, rows(), shifts={"fr": {"path": absent}}), "datasets.d.shifts.fr.path", "absent.csv")
    rows(6).drop("label").write_csv(path)
    fails(lambda: load(tmp_path, rows(), shifts={"fr": {"path": str(path)}}), "datasets.d.shifts.fr.label", "'label'")


def test_absent_package(tmp_path):
    spec = {"path": "package:no_such_package/data.csv", **NAMES}
    fails(lambda: load_examples("d", spec, seed=0, folds=5), "no_such_package", "not installed")


def test_hub_data_set_that_is_not_there(tmp_path):
    code = (
        "from tessera.examples.examples import load_examples\n"
        "spec = {'hub': 'nobody/nothing', 'hub_split': 'train', 'text': 'text', 'label': 'label'}\n"
        "try:\n"
        "    load_examples('d', spec, seed=0, folds=5)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | offline, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("TesseraError config key datasets.d.hub: 'nobody/nothing'"), done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_class_whose_texts_all_carry_another_label_too(tmp_path):
    path = tmp_path / "texts.csv"
    labels = ["a"] * 40 + ["b"]
    pl.DataFrame({"text": [f"t{i}" for i in range(40)] + ["t1"], "label": labels}).write_csv(path)
    spec = {"path": str(path), "text": "text", "label": "label"}
    for seed in range(4):
        with pytest.raises(TesseraError, match=r"class 'b' has [01] distinct|one class only"):
            load_examples("d", spec, seed=seed, folds=5)


def test_no_rows(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n")
    with pytest.raises(TesseraError, match="no rows"):
        load_examples("d", {"path": str(path), "text": "text", "label": "label"}, seed=0)


# Rows and groups of the user's choice


def prompts(tmp_path):
    """Answers of three models to forty prompts, two of which are spelled alike."""
    rows = [
        {
            "prompt": f"p{number}",
            "text": f"question {min(number, 38)}",
            "label": (number + model) % 2,
            "model": f"m{model}",
        }
        for number in range(40)
        for model in range(3)
    ]
    path = tmp_path / "prompts.csv"
    pl.DataFrame(rows).write_csv(path)
    return {"path": str(path), "text": "text", "label": "label"}


def test_a_group_stays_on_one_side_of_every_split(tmp_path):
    frame = load_examples("d", prompts(tmp_path) | {"group": "prompt"}, seed=0)
    assert frame["group"].n_unique() == 39  # p38 and p39 share their text
    assert frame.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    fold_E = assign_parts(frame.with_columns(text=frame["id"]), 3, seed=0, purpose="folds")
    assert frame.with_columns(fold=fold_E).group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1


def test_rows_are_chosen_by_value(tmp_path):
    spec = prompts(tmp_path)
    frame = load_examples("d", spec | {"where": {"model": "m1"}}, seed=0)
    assert len(frame) == 40
    with pytest.raises(TesseraError, match=r"datasets.d.where.model: no row has 'm9'; there: \['m0', 'm1', 'm2'\]"):
        load_examples("d", spec | {"where": {"model": "m9"}}, seed=0)
    with pytest.raises(TesseraError, match=r"datasets.d.where: no column 'lang'; there: prompt, text, label, model"):
        load_examples("d", spec | {"where": {"lang": "en"}}, seed=0)
    with pytest.raises(TesseraError, match=r"datasets.d.group: no column 'nope'"):
        load_examples("d", spec | {"group": "nope"}, seed=0)


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "d.csv").write_text("text,label,text\n" + "".join(f"a {n},{n % 2},b {n}\n" for n in range(60)))
    fails(
        lambda: load_examples("d", {"path": str(tmp_path / "d.csv"), "text": "text", "label": "label"}, seed=0),
        *("datasets.d.path", "two columns named 'text'"),
    )


def test_each_repeat_has_a_split_of_its_own():
    frame = pl.DataFrame({"id": [f"r{n}" for n in range(100)], "label": ["a", "b"] * 50})
    frame = frame.with_row_index("example").with_columns(group="example")
    frame = frame.with_columns(split(frame, 7))
    shift = frame.head(5).with_columns(pl.col("example", "group") + 100, split=pl.lit("fr"))
    whole = pl.concat([frame, shift])
    tests = [set(resplit(whole, seed=7, repeat=n).filter(split="test")["example"]) for n in range(6)]
    assert tests[0] == set(frame.filter(split="test")["example"])
    assert {len(one) for one in tests} == {20} and len({frozenset(one) for one in tests}) == 6
    assert resplit(whole, seed=7, repeat=3).filter(split="fr").equals(shift)
    assert resplit(whole, seed=8, repeat=3)["split"].to_list() != resplit(whole, seed=7, repeat=3)["split"].to_list()
