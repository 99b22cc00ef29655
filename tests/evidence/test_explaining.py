"""Decisions explained: they add up to what the probe decides, and marks are the tokens that fire."""

import numpy as np
import places
import polars as pl
import pytest
from tessera.base import hive
from tessera.base.files import write_parquet
from tessera.evidence.explaining import LISTED
from tessera.evidence.reading import Place, explain_decisions
from tessera.features.pooling import read_features
from tessera.study import paths

TWO, THREE = ["a", "b", "b", "a"] * 40, ["a", "b", "c", "a"] * 40
CASES = {
    "pooled": (TWO, {"threshold": ["none"]}),
    "binarised": (TWO, {"threshold": ["1.5"]}),
    "several classes": (THREE, {"threshold": ["none"]}),
    "several classes, binarised": (THREE, {"threshold": ["q50"]}),
    "selected": (THREE, {"selection": ["anova-8"]}),
    "before the answer": (TWO, {"pooling": ["before_answer"]}),
}


@pytest.fixture(scope="module")
def acts_ETW() -> np.ndarray:
    acts_ETW = places.random_acts(len(TWO), seed=5)
    places.plant(acts_ETW, np.array(TWO) == "b")
    acts_ETW[4] = 0  # a test text that fires nothing
    return acts_ETW


@pytest.fixture(scope="module", params=CASES)
def place(request, tmp_path_factory, acts_ETW) -> Place:
    labels, values = CASES[request.param]
    examples = places.example_frame(labels).with_columns(
        split=pl.when(pl.col("example") % 5 == 3).then(pl.lit("shift")).otherwise("split")
    )
    folder = tmp_path_factory.mktemp("explained")
    return places.make_place(folder, labels, acts_ETW, examples=examples, shards=3, **values)


@pytest.fixture(scope="module")
def found(place) -> tuple[pl.DataFrame, pl.DataFrame]:
    decided, listed = explain_decisions(place)
    return decided, pl.concat(listed)


@pytest.fixture(scope="module")
def expected(place) -> dict:
    """Per test example the decision for each class, and each latent's contribution to it, off the cell's own files."""
    decision = place.decision()
    matrix_EK = decision.matrix(read_features(place.pooled(decision), place.width)).toarray().astype(float)
    cell = next(file for file in hive.at(place.cells, **decision.cell) if file.endswith("coefficients.parquet"))
    weights = {name[0]: rows for name, rows in pl.read_parquet(cell).group_by("class", maintain_order=True)}
    added = {}
    for name in place.task.classes:
        rows = weights.get(name, weights[place.task.classes[-1]]).filter(pl.col("latent").is_not_null())
        sign = 1 if name in weights else -1
        added[name] = sign * matrix_EK * rows["weight"].to_numpy()
    decision_EC = decision.probe.decisions(matrix_EK)
    if decision_EC.shape[1] == 1:
        decision_EC = np.hstack([-decision_EC, decision_EC])
    return {"decision": decision_EC, "added": added, "latents": rows["latent"].to_list(), "matrix": matrix_EK}


def test_every_example_of_every_test_split_has_the_probes_decision(place, found, expected):
    decided, classes = found[0], place.task.classes
    predicted_E = expected["decision"].argmax(axis=1)
    rows = []
    for example, label, split in place.frame.select("example", "label", "split").iter_rows():
        if split != "train":
            predicted = classes[predicted_E[example]]
            rows += [
                (example, str(example), split, label, predicted, name) for name in dict.fromkeys([predicted, label])
            ]
    assert decided.select("example", "id", "split", "label", "predicted", "class").rows() == rows
    assert {"test", "shift"} == {*decided["split"]} and len({*decided["example"]}) < len(decided)
    values = [expected["decision"][row[0], classes.index(row[-1])] for row in rows]
    assert decided["decision"].to_numpy() == pytest.approx(values, abs=1e-9)


def test_intercept_contributions_and_others_add_up_to_the_decision(found):
    decided, listed = found
    sums = listed.group_by("example").agg(pl.col("contribution", "label_contribution").sum())
    both = decided.join(sums, on="example", how="left").fill_null(0)
    of_label = pl.when(pl.col("class") == pl.col("predicted")).then("contribution").otherwise("label_contribution")
    total = both.select(pl.col("intercept") + of_label + pl.col("others")).to_series()
    assert total.to_numpy() == pytest.approx(both["decision"].to_numpy(), abs=1e-9)


def test_the_latents_listed_are_those_of_the_largest_contribution_with_what_the_probe_sees(place, found, expected):
    decided, listed = found
    for example, label, predicted in decided.select("example", "label", "predicted").unique().iter_rows():
        rows = listed.filter(example=example)
        added_K, label_K = (expected["added"][name][example] for name in (predicted, label))
        largest = np.sort(np.abs(added_K[added_K != 0]))[::-1][:LISTED]
        assert rows["contribution"].abs().to_numpy() == pytest.approx(largest)
        columns = [expected["latents"].index(latent) for latent in rows["latent"]]
        assert rows["contribution"].to_numpy() == pytest.approx(added_K[columns])
        assert rows["label_contribution"].to_numpy() == pytest.approx(label_K[columns])
        assert rows["value"].to_numpy() == pytest.approx(expected["matrix"][example, columns])
    assert listed["example"].is_sorted() and not len(listed.filter(example=4))


def test_marks_are_the_tokens_that_fire_it(place, found, acts_ETW):
    before = place.decision().cell["pooling"] == "before_answer"
    texts = place.frame["text"].to_list()
    for row in found[1].sample(60, seed=0).iter_rows(named=True):
        acts_T = acts_ETW[row["example"], :, row["latent"]]
        fires = np.flatnonzero(acts_T if not before else np.append(np.zeros(places.TOKENS - 1), acts_T[-1]))
        text = texts[row["example"]]
        words = [text[start:end] for start, end in zip(row["start"], row["end"], strict=True)]
        assert words == [text.split(" ")[token] for token in fires] != []
        assert row["activation"] == pytest.approx(acts_T[fires].tolist())
        assert row["piece"] == row["row"] == [None] * len(fires)


def test_a_shard_without_test_examples_has_no_rows(tmp_path, acts_ETW):
    split = pl.when(pl.col("example") < 100).then(pl.lit("train")).otherwise("split")
    examples = places.example_frame(TWO).with_columns(split=split)
    decided, listed = explain_decisions(places.make_place(tmp_path, TWO, acts_ETW, examples=examples, shards=2))
    first, second = listed
    assert decided["example"].unique().to_list() == second["example"].unique().to_list() == list(range(104, 160, 5))
    assert first.is_empty() and first.schema == second.schema


def test_latents_of_images_have_patches(tmp_path, acts_ETW):
    place = places.make_place(tmp_path, TWO, acts_ETW)
    tokens = pl.read_parquet(place.tokens[0]).rename({"start": "row", "end": "column"})
    write_parquet(place.folders[0] / paths.TOKENS, tokens)
    listed = pl.concat(explain_decisions(place)[1])
    of_pair = listed.select("example", "row", "column", "start").explode("row", "column", "start")
    assert of_pair["start"].null_count() == len(of_pair) > 0
    known = tokens.select("example", "row", "column")
    assert len(of_pair.join(known, on=["example", "row", "column"], how="semi")) == len(of_pair)
