"""From what a steered model left to changes, by hand; and readers, which choose as every probe does."""

import math

import numpy as np
import polars as pl
import pytest
from sources import source
from tessera.features.registry import kind
from tessera.steering.effects import VALUES
from tessera.steering.measures import (
    ANSWERS,
    KL,
    PERPLEXITY,
    READER,
    REPETITION,
    SELECTIVITY,
    SIDE_EFFECTS,
    STATES,
    TFIDF,
)
from tessera.steering.measuring import (
    Reader,
    of_answers,
    of_harm,
    of_states,
    of_written,
    repeated,
    valued,
    words,
)


def value(frame: pl.DataFrame, **names) -> float:
    (found,) = frame.filter(**names)["value"]
    return found


# Answers.


def answers(right: list[int | None]) -> pl.DataFrame:
    """Three choices; plain, variant 1 and variant 2, of two prompts."""
    told = {0: [[-1, -2, -4], [-3, -1, -1.5]], 1: [[-2, -1, -4], [-3, -1, -0.5]], 2: [[-0.5, -2, -4], [-0.1, -1, -2]]}
    return pl.DataFrame(
        [
            (variant, name, [float(one) for one in rows[number]], ["a", "b", "c"], right[number])
            for variant, rows in told.items()
            for number, name in enumerate(("x", "y"))
        ],
        schema={
            "variant": pl.Int64,
            "id": pl.String,
            "log_probability": pl.List(pl.Float64),
            "names": pl.List(pl.String),
            "right": pl.Int64,
        },
        orient="row",
    )


GROUPS = pl.DataFrame({"id": ["x", "y"], "group": [7, 8]})


def test_answers_are_the_change_of_a_choice_over_the_mean_of_the_others():
    found = of_answers(answers([None, None]), GROUPS, "b").filter(measure=ANSWERS)
    assert sorted(found["variant"]) == [1, 1, 2, 2]
    assert value(found, variant=1, item="x") == pytest.approx((-1 + 3) - (-2 + 2.5))
    assert value(found, variant=2, item="x") == pytest.approx((-2 + 2.25) - (-2 + 2.5))
    assert value(found, variant=1, item="y") == pytest.approx((-1 + 1.75) - (-1 + 2.25))
    assert dict(found.select("item", "group").unique().rows()) == {"x": "7", "y": "8"}


def test_of_two_answers_it_is_their_log_odds():
    two = answers([None, None]).with_columns(pl.col("log_probability", "names").list.head(2))
    found = {choice: of_answers(two, GROUPS, choice).sort("variant", "item")["value"].to_numpy() for choice in "ab"}
    np.testing.assert_allclose(found["a"], [-2, 0, 0.5, 2.9])
    np.testing.assert_allclose(found["b"], -found["a"])


def test_side_effects_are_of_answers_that_changed_was_the_first_right():
    found = of_answers(answers([0, 2]), GROUPS, "b").filter(measure=SIDE_EFFECTS)
    # x said a, b, a; y said b, c, a
    assert found.select("variant", "item", "value").sort("variant", "item").rows() == [
        (1, "x", 1.0),
        (1, "y", 0.0),
        (2, "y", 0.0),
    ]


def test_there_are_none_where_the_right_choice_is_not_known():
    found = of_answers(answers([None, 1]), GROUPS, "b").filter(measure=SIDE_EFFECTS)
    assert found.select("variant", "item", "value").rows() == [(1, "y", 1.0), (2, "y", 1.0)]
    assert of_answers(answers([None, None]), GROUPS, "b")["measure"].unique().to_list() == [ANSWERS]


# Harm.


def test_harm_is_per_token_and_of_texts_with_a_token_to_tell():
    harm = pl.DataFrame(
        {
            "variant": [0, 0, 0, 1, 1, 1],
            "text": [0, 1, 2] * 2,
            "tokens": [5, 9, 1] * 2,
            "told": [4, 8, 0] * 2,
            "surprise": [10.0, 20, 0, 14, 18, 0],
            "plain_surprise": [10.0, 20, 0] * 2,
            "kl": [0.0, 0, 0, 2, 4.5, 1],
        }
    )
    found = of_harm(harm)
    assert found.select("variant", "item", "group", "measure", "value").rows() == [
        (1, "0", "0", PERPLEXITY, 1.0),
        (1, "1", "1", PERPLEXITY, -0.25),
        (1, "0", "0", KL, 0.4),
        (1, "1", "1", KL, 0.5),
    ]


# What is written.


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        ([], 0),
        ([1, 2], 0),
        ([1, 2, 3], 0),
        ([1, 2, 3, 4, 5], 0),
        ([1, 1, 1, 1, 1], 2 / 3),
        ([1, 2, 3, 1, 2, 3], 1 / 4),
        ([1, 2, 3, 2, 1, 2, 3], 1 / 5),
    ],
)
def test_repetition_is_the_share_of_trigrams_that_were_there_before(ids, share):
    assert repeated(ids) == pytest.approx(share)


PROMPTS = pl.DataFrame({"id": [10, 20], "group": [1, 2]})


def written() -> pl.DataFrame:
    """Variants 0 and 1, two prompts, two samples each."""
    rows = [(prompt, variant, sample) for variant in (0, 1) for prompt in (0, 1) for sample in (0, 1)]
    frame = pl.DataFrame(rows, schema=["prompt", "variant", "sample"], orient="row")
    ids = [[1, 2, 3, 4]] * 4 + [[1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]
    return frame.with_columns(ids=pl.Series(ids))


def test_changes_are_means_over_samples_against_the_same_sample_without_steering():
    told_NC = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.6, 0.4], [0.1, 0.9], [0.4, 0.6], [0.6, 0.4], [0.3, 0.7]])
    for frame, rows in ((written(), np.arange(8)), (written()[::-1], np.arange(8)[::-1])):
        found = of_written(frame, PROMPTS, {(READER, None): told_NC[rows]}, 1)
        assert found["variant"].unique().to_list() == [1]
        assert value(found, measure=READER, item="10") == pytest.approx((0.8 + 0.4) / 2)
        assert value(found, measure=READER, item="20") == pytest.approx((-0.1 + 0.3) / 2)
        assert value(found, measure=REPETITION, item="10") == pytest.approx(0.25)
        assert value(found, measure=REPETITION, item="20") == 0
        assert dict(found.select("item", "group").unique().rows()) == {"10": "1", "20": "2"}


def test_a_score_is_one_number():
    score_N1 = np.array([0.0, 0, 0.5, 0.5, 1, 0.5, 0.25, 0.5])[:, None]
    found = of_written(written(), PROMPTS, {(TFIDF, None): score_N1}, 1)
    assert value(found, measure=TFIDF, item="10") == pytest.approx(0.75)
    assert value(found, measure=TFIDF, item="20") == pytest.approx(-0.125)


def test_what_has_nothing_to_tell_by_has_no_value_beside_the_samples_that_have():
    score_N1 = np.array([0.0, 0.25, 0.5, 0.5, math.nan, 0.5, math.nan, math.nan])[:, None]
    found = of_written(written(), PROMPTS, {(READER, None): score_N1}, 0)
    assert value(found, measure=READER, item="10") == pytest.approx(0.25)
    assert value(found, measure=READER, item="20") is None
    plain = np.array([math.nan, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])[:, None]
    assert value(of_written(written(), PROMPTS, {(READER, None): plain}, 0), measure=READER, item="10") == 0.25


def test_of_other_labels_it_is_the_total_variation():
    told_NC = np.tile([0.2, 0.3, 0.5], (8, 1))
    told_NC[4], told_NC[5] = [0.5, 0.1, 0.4], [0.2, 0.3, 0.5]
    found = of_written(written(), PROMPTS, {(SELECTIVITY, "other"): told_NC}, 1)
    assert value(found, measure=SELECTIVITY, of="other", item="10") == pytest.approx((0.3 + 0.2 + 0.1) / 2 / 2)
    assert value(found, measure=SELECTIVITY, of="other", item="20") == 0


# States of a later layer.


def test_states_are_the_change_of_the_probability_of_the_class():
    examples = pl.DataFrame({"example": [3, 8], "group": [1, 1]})
    told = {0: np.array([[0.5, 0.5], [0.9, 0.1]]), 2: np.array([[0.2, 0.8], [0.9, 0.1]])}
    found = of_states(told, examples, 1)
    assert found.columns == ["variant", "item", "group", "measure", "value"]
    assert found.drop("value").rows() == [(2, "3", "1", STATES), (2, "8", "1", STATES)]
    np.testing.assert_allclose(found["value"], [0.3, 0.0])


# All of a direction.


def test_values_have_the_draw_and_the_alpha_of_their_variants():
    variants = pl.DataFrame(
        {
            "variant": [0, 1, 2],
            "draw": [None, 0, 1],
            "controls": [False, False, True],
            "alpha": [0.0, 0.5, 0.5],
            "unit": [3.0] * 3,
        }
    )
    answered = of_answers(answers([None, None]), GROUPS, "b")
    alone = valued(variants, [answered])
    assert alone.schema == pl.Schema(VALUES) and alone["of"].null_count() == 4
    texts = written().with_columns(variant=pl.col("variant") * 2)
    both = valued(variants, [answered, of_written(texts, PROMPTS, {(SELECTIVITY, "o"): np.full((8, 2), 0.5)}, 0)])
    assert both.head(4).equals(alone)
    assert set(both.filter(measure=SELECTIVITY).select("of", "draw", "controls", "alpha").rows()) == {
        ("o", 1, True, 0.5)
    }
    assert both.filter(measure=ANSWERS, draw=0)["controls"].to_list() == [False, False]


# Readers.


@pytest.mark.parametrize("classes", [2, 3])
def test_a_reader_is_the_probe_that_a_cell_of_hidden_states_is(classes):
    made = source(classes)
    reader = Reader(made.task, made.hidden_ED)
    cell = next(made.task.fit(kind("hidden"), made.hidden_ED, "mean", None, ["none"]))
    assert cell.scores["C"][0] == reader.probe.C and reader.probe.cv_macro_f1 == cell.scores["cv_macro_f1"][0]
    told_EC = reader.tells(made.hidden_ED[made.task.split_E == "test"])
    np.testing.assert_array_equal(told_EC, np.array(cell.predictions["probability"].to_list()))


def test_a_reader_looks_at_no_test_text():
    made = source()
    other_ED = made.hidden_ED.copy()
    other_ED[made.task.split_E == "test"] = 1e6
    np.testing.assert_array_equal(
        Reader(made.task, made.hidden_ED).tells(made.hidden_ED), Reader(made.task, other_ED).tells(made.hidden_ED)
    )


def test_a_reader_of_words_is_the_probe_that_a_cell_of_tfidf_is():
    made = source()
    texts = (
        made.task.examples["label"].str.replace(" ", "") + " is the label of " + made.task.examples["id"]
    ).to_numpy()
    reader = Reader(made.task, texts, words)
    cell = next(made.task.fit(kind("tfidf"), texts, "word", None, ["none"]))
    assert cell.scores["C"][0] == reader.probe.C
    told_EC = reader.tells(texts[made.task.split_E == "test"])
    np.testing.assert_array_equal(told_EC, np.array(cell.predictions["probability"].to_list()))
    assert reader.tells(np.array(["class1", "class0"])).argmax(axis=1).tolist() == [1, 0]
