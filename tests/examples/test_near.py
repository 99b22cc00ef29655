"""Near-duplicates: what differs in case, punctuation or a word of a template is one, and ordinary texts are not."""

import numpy as np
import polars as pl
import pytest
from refusals import fails
from tessera.examples.examples import describe, load_examples
from tessera.examples.near import clusters
from tessera.examples.splits import assign_parts

VOCABULARY = [
    "".join(np.random.default_rng(number).choice(list("abdefgiklmnoprstuv"), size=3 + number % 7))
    for number in range(600)
]


def words(generator, size):
    return list(generator.choice(VOCABULARY, size=size))


def suite(seed=0, templates=60, distractors=200):
    """Texts of templates with one slot of one to three words, ordinary texts, and the number of each one's template."""
    generator = np.random.default_rng(seed)
    texts, template = [], []
    for number in range(templates):
        frame = words(generator, generator.integers(7, 15))
        slot = generator.integers(len(frame))
        for _ in range(generator.integers(2, 6)):
            texts.append(" ".join([*frame[:slot], *words(generator, generator.integers(1, 4)), *frame[slot + 1 :]]))
            template.append(number)
    texts += [" ".join(words(generator, generator.integers(4, 30))) for _ in range(distractors)]
    template += range(templates, templates + distractors)
    return pl.Series(texts), np.array(template)


def together(name):
    name = np.asarray(name)
    return (name[:, None] == name)[np.triu_indices(len(name), 1)]


def test_case_punctuation_and_spaces_make_no_difference():
    texts = pl.Series(["What a film!", "what  a FILM", "“What a film.”", "ｗhat a film", "What a day", "!!!", "???"])
    found = clusters(texts).to_list()
    assert found[:4] == [found[0]] * 4 and len(set(found)) == 4


@pytest.mark.parametrize("seed", range(3))
def test_texts_of_one_template_are_one_cluster(seed):
    texts, template = suite(seed)
    found, truth = together(clusters(texts)), together(template)
    assert (found & truth).sum() / truth.sum() > 0.9
    assert (found & truth).sum() / found.sum() > 0.98


def test_clusters_depend_on_the_texts_alone():
    texts, _ = suite()
    order = np.random.default_rng(1).permutation(len(texts))
    assert clusters(texts.gather(order)).to_list() == clusters(texts).gather(order).to_list()


def test_scripts_without_spaces():
    texts = pl.Series(["如何在家里种植新鲜的番茄和辣椒?", "如何在家里种植新鲜的番茄和黄瓜", "明天上海的天气怎么样呢"])
    found = clusters(texts).to_list()
    assert found[0] == found[1] != found[2]


def data(tmp_path, **spec):
    texts, template = suite()
    frame = pl.DataFrame({"text": texts, "label": np.where(template % 2, "yes", "no"), "template": template})
    frame = frame.sample(fraction=1, shuffle=True, seed=0)
    frame.write_csv(tmp_path / "d.csv")
    given = {"path": str(tmp_path / "d.csv"), "text": "text", "label": "label", **spec}
    return frame, load_examples("d", given, seed=0, folds=5)


def test_group_auto_keeps_clusters_on_one_side_of_every_split_and_fold(tmp_path):
    _, found = data(tmp_path, group="auto")
    assert (found["group"] == found["near"]).all()
    for repeat in range(3):
        test = pl.Series(assign_parts(found, 5, seed=0, purpose="test split", repeat=repeat) == 0)
        assert found.with_columns(test=test).group_by("near").agg(pl.col("test").n_unique())["test"].max() == 1
    split = describe(found).filter(split="test")
    assert split["near_in_training"].item() == 0 and split["near_duplicates"].item() > 10


def test_near_duplicates_across_the_split_are_counted(tmp_path):
    frame, found = data(tmp_path)
    split = found.with_columns(template=frame["template"])
    training, test = split.filter(split="train"), split.filter(split="test")
    leaked = test["template"].is_in(training["template"].unique().implode()).sum()
    row = describe(found).filter(split="test").row(0, named=True)
    assert row["near_in_training"] == pytest.approx(leaked, abs=4) and row["texts_in_training"] == 0
    assert row["largest_cluster"] <= test["template"].value_counts()["count"].max()


def test_texts_of_a_shift_are_held_against_training(tmp_path):
    texts, _ = suite()
    shift = pl.DataFrame({"text": [f"{texts[0]}!", "of no other kin at all"], "label": ["yes", "no"]})
    shift.write_csv(tmp_path / "shift.csv")
    _, found = data(tmp_path, group="auto", shifts={"new": {"path": str(tmp_path / "shift.csv")}})
    home = found.filter(pl.col("text") == texts[0])
    assert found[-2]["near"].item() == home["near"][0] != found[-1]["near"].item()
    expected = int(home["split"][0] == "train")
    assert describe(found).filter(split="new")["near_in_training"].item() == expected


def test_one_cluster_that_holds_most_texts_cannot_be_dealt(tmp_path):
    texts = [f"the very same long sentence about nothing, number {number}" for number in range(60)]
    pl.DataFrame({"text": texts, "label": ["a", "b"] * 30}).write_csv(tmp_path / "d.csv")
    spec = {"path": str(tmp_path / "d.csv"), "text": "text", "label": "label", "group": "auto"}
    fails(lambda: load_examples("d", spec, seed=0), "config key datasets.d.group", "one cluster of 60", "name a column")


def test_labels_that_differ_in_case_or_spaces_are_named(tmp_path):
    texts, _ = suite()
    label = np.resize(["very good", "Very  good", "bad"], len(texts))
    pl.DataFrame({"text": texts, "label": label}).write_csv(tmp_path / "d.csv")
    found = load_examples("d", {"path": str(tmp_path / "d.csv"), "text": "text", "label": "label"}, seed=0)
    assert describe(found)["labels_alike"].unique().to_list() == ["'Very  good', 'very good'"]
    assert describe(found.filter(pl.col("label") != "Very  good"))["labels_alike"].null_count() == 2
