"""Claims: what holds, what fails, and what chance would call a finding."""

import numpy as np
import polars as pl
import pytest
import yaml
from refusals import fails
from scipy import stats
from sklearn.metrics import f1_score
from tessera.probes import verdicts
from tessera.probes.influence import chance_macro_f1
from tessera.results.claims import PRIMARY, QUIVER, SCHEMA, Cells, Contrast, Side, between, judge, of_matches, together
from tessera.results.contestants import ALL, THESE
from tessera.results.search import TestSplit
from tessera.results.tables import behaviour_table
from tessera.study.config import SCHEMA as CONFIG
from tessera.study.grid import CELL


def answers(right: float, size=200, seed=0, labels=("no", "yes")):
    """Predictions of which a share is right, of the same examples whatever the seed."""
    label = np.random.default_rng(99).choice(labels, size=size)
    hit = np.random.default_rng(seed).random(size) < right
    other = np.array([labels[(labels.index(one) + 1) % len(labels)] for one in label])
    group = pl.Series(range(size), dtype=pl.UInt32)
    columns = {"id": group.cast(pl.String), "group": group, "label": label, "predicted": np.where(hit, label, other)}
    return pl.DataFrame(columns)


def contrast(left, right, claim="a > b", on="d", split="test", shared=False):
    """Of two frames of predictions, or of one against chance; columns draw and repeat where they have them.

    shared: has the data set its examples in common with others of the same ids?
    """
    sides = [("left", left)] + ([("right", right)] if right is not None else [])
    frames = [frame.with_columns(side=pl.lit(side)) for side, frame in sides]
    fit = {name: pl.lit(0) for name in ("draw", "repeat") if name not in left.columns}
    tests = TestSplit(pl.concat([frame.with_columns(**fit) for frame in frames]), ["side"])
    ranking = {side: {repeat: [(side,)] for repeat in tests.repeats} for side, _ in sides}
    if right is None:
        scored = [tests.scored(ranking["left"]), tests.chance(ranking["left"])]
    else:
        tests.check(ranking["left"], ranking["right"])
        scored = [tests.scored(ranking[side]) for side, _ in sides]
    groups = tests.groups if shared else [f"{on}: {name}" for name in tests.groups]
    sides = [Side(one, one, "", 1) for one in scored]
    return Contrast(claim, on, split, *sides, groups, tests.examples, "one" if shared else on)


def test_verdicts():
    pairs = {"better": (0.9, 0.6, "holds"), "worse": (0.6, 0.9, "fails"), "equal": (0.8, 0.8, "undecided")}
    found = judge([contrast(answers(a), answers(b, seed=1), name) for name, (a, b, _) in pairs.items()], "better")
    assert found["verdict"].to_list() == [verdict for *_, verdict in pairs.values()]
    assert found["role"].to_list() == ["primary", "secondary", "secondary"]
    assert found["level"].to_list() == pytest.approx([0.95, 0.975, 0.95])  # Holm: the worse one is passed first
    left, right = answers(0.9), answers(0.6, seed=1)
    f1 = [f1_score(side["label"], side["predicted"], average="macro") for side in (left, right)]
    assert found["difference"][0] == pytest.approx(f1[0] - f1[1])


def test_others_share_a_hundredth_where_the_primary_claim_is_undecided():
    pairs = [contrast(answers(0.8), answers(0.8, seed=2), "first"), contrast(answers(0.8), answers(0.8, seed=1), "b")]
    assert judge(pairs, "first")["level"].to_list() == pytest.approx([0.95, 0.99])
    assert judge(pairs, PRIMARY)["level"].to_list() == pytest.approx([0.975, 0.975])
    assert judge(pairs, PRIMARY)["role"].to_list() == ["secondary"] * 2
    fails(lambda: judge(pairs, "frist"), "claims.primary", "'frist'", "there: first, b")
    assert yaml.safe_load(CONFIG.read_text())["properties"]["claims"]["properties"]["primary"]["default"] == PRIMARY


def test_data_sets_to_come_and_these():
    """The mean of few that differ says little of those to come, and much of these."""
    pairs = [contrast(answers(0.95), answers(right, seed=1), on=str(right)) for right in (0.55, 0.7, 0.93)]
    found = judge(pairs, "a > b")
    assert found["on"].to_list() == [ALL, THESE, "0.55", "0.7", "0.93"]
    assert found["difference"][0] == pytest.approx(found["difference"][2:].mean())
    assert found["difference"][0] == found["difference"][1]
    assert found["verdict"][:2].to_list() == ["undecided", "holds"]
    values = found["difference"][2:].to_numpy()
    expected = stats.ttest_1samp(values, 0)
    assert found["p"][0] == pytest.approx(expected.pvalue)
    assert found.select("difference_low", "difference_high").row(0) == pytest.approx(expected.confidence_interval(0.95))
    assert 0.1 < found["spread"][0] < values.std(ddof=1)


def test_of_many_null_data_sets_hardly_one_is_decided():
    """Forty studies of twenty data sets without a difference: the correction keeps wrong verdicts to one in twenty."""
    wrong = 0
    for study in range(40):
        sides = [[answers(0.7, 80, 100 * study + d + side) for side in (10_000, 20_000)] for d in range(20)]
        pairs = [contrast(*both, on=str(d)) for d, both in enumerate(sides)]
        wrong += (judge(pairs, "a > b")["verdict"] != "undecided").any()
    assert wrong <= 6


def test_what_has_one_id_in_two_data_sets_moves_together():
    """Eight translations of one test split are no eight test splits: their mean is as uncertain as each is."""
    sides = [answers(0.8), answers(0.65, seed=3)]
    one = judge([contrast(*sides)], "a > b")
    pairs = []
    for number in range(8):
        group = pl.Series(np.random.default_rng(number).permutation(200))  # numbered by its own texts
        pairs.append(contrast(*(side.with_columns(group=group) for side in sides), on=str(number), shared=True))
    whole = judge(pairs)
    assert whole.filter(on=THESE)["p"][0] == pytest.approx(one["p"][0])
    assert whole.filter(on=ALL)["verdict"].to_list() == ["undecided"]  # one sample says nothing of others
    apart = judge([contrast(*sides, on=str(number)) for number in range(8)])
    assert apart.filter(on=THESE)["p"][0] < one["p"][0] / 10


def test_shifts_do_not_stand_for_data_sets():
    pairs = [contrast(answers(0.7), answers(0.7, seed=1), split=split) for split in ("test", "fr", "de")]
    assert not {ALL, THESE} & set(judge(pairs)["on"])


def repeated(right, repeats=5, size=400, seed=0):
    """Predictions of a fifth of the examples in each repeat, by one classifier."""
    whole, found = answers(right, size, seed), []
    for repeat in range(repeats):
        chosen = np.sort(np.random.default_rng(repeat).permutation(size)[: size // 5])
        found.append(whole[chosen].with_columns(repeat=pl.lit(repeat)))
    return pl.concat(found)


def test_an_example_that_several_repeats_test_counts_once():
    """Five times the same test split tells as much as one."""
    one = [answers(0.8), answers(0.72, seed=1)]
    again = [pl.concat([side.with_columns(repeat=pl.lit(repeat)) for repeat in range(5)]) for side in one]
    found = judge([contrast(*one)]), judge([contrast(*again)])
    assert found[1]["p"][0] == pytest.approx(found[0]["p"][0])
    assert found[1]["repeats"][0] == 5 and found[1]["agree"][0] == 1


@pytest.mark.parametrize(("right", "expected"), [(0.55, ("holds", 1.0)), (0.9, ("undecided", 1.0))])
def test_repeats_agree_where_each_comes_to_the_verdict_alone(right, expected):
    sides = [
        pl.concat([answers(share, 400, [seed, repeat]).with_columns(repeat=pl.lit(repeat)) for repeat in range(4)])
        for seed, share in ((1, 0.9), (2, right))
    ]
    row = judge([contrast(*sides)], "a > b").row(0, named=True)
    assert (row["verdict"], row["agree"]) == expected


def test_repeats_disagree_where_only_all_of_them_decide():
    sides = [
        pl.concat(
            [
                answers(share, 60, [seed, repeat]).with_columns(
                    pl.col("id") + f" {repeat}", pl.col("group") + 60 * repeat, repeat=pl.lit(repeat)
                )
                for repeat in range(12)
            ]
        )
        for seed, share in ((1, 0.85), (2, 0.75))
    ]
    row = judge([contrast(*sides)], "a > b").row(0, named=True)
    assert row["verdict"] == "holds" and row["agree"] < 0.7


def test_repeats_narrow_an_interval_but_not_as_if_they_were_new_examples():
    error = {}
    for repeats in (1, 5, 20):
        pairs = [contrast(repeated(0.8, repeats, seed=n), repeated(0.8, repeats, seed=n + 50)) for n in range(10)]
        effects = [verdicts.contrast(one.left.scored, one.right.scored) for one in pairs]
        error[repeats] = np.mean([effect.error for effect in effects])
    assert 0.5 < error[5] / error[1] < 0.85
    assert 0.44 < error[20] / error[1] < 0.6  # all 400 examples against 80: √(1/5) = .45


def test_the_luck_of_a_draw_is_counted():
    """Three dictionaries that differ by .1: with one of them the difference is sure, with three it is not."""
    left = answers(0.8, 2000)
    rights = [answers(right, 2000, seed=0).with_columns(draw=pl.lit(d)) for d, right in enumerate((0.65, 0.75, 0.85))]
    one = judge([contrast(left.with_columns(draw=pl.lit(0)), rights[1].with_columns(draw=pl.lit(0)))])
    three = judge([contrast(left.with_columns(draw=pl.lit(0)), pl.concat(rights))])
    assert one["verdict"][0] == "holds" and three["verdict"][0] == "undecided"
    assert three["right_draws"][0] == 3


def test_chance_is_that_of_shuffled_predictions():
    generator = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    label, predicted = generator.choice(names, p=[0.6, 0.3, 0.1], size=4000), generator.choice(names, size=4000)
    shuffled = [f1_score(label, generator.permutation(predicted), average="macro") for _ in range(30)]
    assert chance_macro_f1(label, predicted)[0] == pytest.approx(np.mean(shuffled), abs=2e-3)
    rare = np.array(["a", "b"]), np.array(["a", "c"])  # c is no class of the labels
    assert chance_macro_f1(*rare)[0] == pytest.approx(0.25)


def test_a_constant_prediction_is_at_chance():
    side = answers(0.9).with_columns(predicted=pl.lit("yes"))
    row = judge([contrast(side, None)]).row(0, named=True)
    assert row["difference"] == pytest.approx(0, abs=1e-6)
    assert row["verdict"] == "undecided"


def test_sides_of_different_examples_are_refused():
    with pytest.raises(ValueError, match="different examples"):
        contrast(answers(0.9), answers(0.9).reverse())


def test_together_takes_the_weakest_part():
    parts = {"x": 0.5, "y": 0.8, "z": 0.6}
    found = judge([contrast(answers(0.9), answers(b, seed=1), name) for name, b in parts.items()])
    assert together("all", found, ["x", "y", "absent"]).is_empty()
    whole = together("all", found, ["x", "y"]).row(0, named=True)
    assert (whole["claim"], whole["difference"]) == ("all", found.filter(claim="y")["difference"][0])


def test_together_a_part_that_fails_counts_more_than_one_that_is_uncertain():
    row = {"on": "d", "split": "test", "level": 0.95, "left": "", "right": "", "examples": 9}
    ends = ("difference", "difference_low", "difference_high")
    wide = row | {"claim": "x", "verdict": "undecided"} | dict(zip(ends, (0.0, -0.3, 0.26), strict=True))
    sure = row | {"claim": "y", "verdict": "fails"} | dict(zip(ends, (-0.15, -0.2, -0.1), strict=True))
    found = pl.DataFrame([wide, sure], schema=SCHEMA)
    assert together("all", found, ["x", "y"])["verdict"].to_list() == ["fails"]


def cell(features, data="d", cv=0.5, **place):
    empty = dict.fromkeys(["model", "layer", "width", "pooling", "threshold", "selection"]) | {"probe": "logistic"}
    return (
        empty
        | {
            "features": features,
            "data": data,
            "split": "test",
            "cv_macro_f1": cv,
            "control": False,
            "frozen": None,
            "draw": 0,
            "repeat": 0,
        }
        | place
    )


SAE = {"model": "m", "layer": 1, "width": "64", "pooling": "sum"}
CELLS = [
    cell("sae", threshold="none", selection="none", cv=0.7, **SAE),
    cell("sae", threshold="1.0", selection="none", cv=0.8, **SAE),
    cell("sae", threshold="none", selection="anova-8", cv=0.75, **SAE),
    cell("sae", threshold="1.0", selection="anova-8", cv=0.6, **SAE),
    cell("hidden", model="m", layer=1, pooling="mean", cv=0.7),
    cell("hidden", model="m", layer=1, pooling="last", cv=0.6),
    cell("tfidf", pooling="word"),
    cell("length"),
    cell("sae", **SAE | {"model": "m-random"}, threshold="none", selection="none", control=True),
    cell("sae", **SAE | {"model": "big"}, threshold="none", selection="none", cv=0.1),
    cell("sae", **SAE | {"width": "64_frozen"}, threshold="none", selection="none", frozen="all", cv=0.55),
    cell("sae", **SAE | {"width": "64_frozen", "model": "big"}, threshold="none", selection="none", frozen="all"),
]


@pytest.fixture
def study():
    """Scores and predictions of a few cells, each right as often as its cross-validated score says."""
    types = {key: pl.String for key in (*CELL, "split", "frozen")} | {"layer": pl.Int64}
    scores = pl.DataFrame(CELLS, schema_overrides=types, infer_schema_length=None)
    rows = []
    for number, row in enumerate(CELLS):
        about = {key: pl.lit(row[key], types[key]) for key in (*CELL, "split")}
        about |= {"draw": pl.lit(0), "repeat": pl.lit(0)}
        side = answers(row["cv_macro_f1"], seed=number).with_row_index("example")
        rows.append(side.with_columns(**about))
    return scores, pl.concat(rows).lazy()


def test_within_compares_the_best_cells_by_cross_validation(study):
    contrasts = {one.claim: one for one in Cells(*study, []).within(["d"])}
    assert contrasts["SAE > hidden states"].left.cell == (
        "sae model=m layer=1 width=64 pooling=sum threshold=1.0 selection=none probe=logistic"
    )
    assert contrasts["SAE > hidden states"].right.cell == "hidden model=m layer=1 pooling=mean probe=logistic"
    assert "threshold=1.0" in contrasts["binarised > real-valued, all latents"].left.cell
    assert "threshold=none selection=none" in contrasts["binarised > real-valued, all latents"].right.cell
    assert "threshold=none selection=anova-8" in contrasts["binarised, all latents > real-valued, selected"].right.cell
    assert "threshold=1.0 selection=anova-8" in contrasts["binarised > real-valued, 8 selected latents"].left.cell
    assert set(contrasts) >= {"SAE > TF-IDF", "SAE > text length", "SAE > random SAE", "SAE > frozen SAE"}
    assert "width=64_frozen" in contrasts["SAE > frozen SAE"].right.cell
    assert not any("frozen" in one.left.cell for one in contrasts.values())


def table_of(cells, sides):
    """Scores and predictions of cells, each of whose rows has predictions of its own."""
    types = {key: pl.String for key in (*CELL, "split")} | {"layer": pl.Int64}
    rows = []
    for row, side in zip(cells, sides, strict=True):
        about = {key: pl.lit(row[key], types.get(key)) for key in (*CELL, "split", "draw", "repeat")}
        rows.append(side.with_row_index("example").with_columns(**about))
    return pl.DataFrame(cells, schema_overrides=types, infer_schema_length=None), pl.concat(rows).lazy()


HIDDEN = {"model": "m", "layer": 1, "pooling": "mean"}
BESIDE = SAE | {"pooling": "sum_beside_mean", "threshold": "none"}


def test_the_quiver_is_every_trained_contestant_against_those_without_latents():
    """By cross-validation: a control, then latents beside hidden states, then TF-IDF, then hidden states."""
    cells = [
        cell("sae", **SAE | {"model": "m-random"}, control=True, cv=0.99),
        cell("beside", **BESIDE, cv=0.9),
        cell("sae", **SAE, threshold="none", selection="none", probe="l1", cv=0.6),
        cell("tfidf", pooling="word", cv=0.8),
        cell("hidden", **HIDDEN, probe="lda", cv=0.7),
        cell("hidden", **HIDDEN, cv=0.5),
    ]
    study = table_of(cells, [answers(row["cv_macro_f1"], seed=number) for number, row in enumerate(cells)])
    found = {one.claim: one for one in Cells(*study, []).within(["d"])}
    quiver = found["with SAE > without SAE"]
    assert quiver.left.cell.startswith("beside ") and quiver.right.cell.startswith("tfidf ")
    assert (quiver.left.cells, quiver.right.cells) == (5, 3)
    asked = {claim for claim in found if claim.startswith("SAE, L1")}
    assert asked == {"SAE, L1 > hidden states", "SAE, L1 > TF-IDF"}  # no LDA, which the SAE has no probe like
    assert found["SAE beside hidden states > hidden states"].left.cell.startswith("beside ")


@pytest.mark.parametrize("draws", [1, 3])
def test_a_quiver_that_takes_the_same_arrow_on_both_sides_differs_by_nothing(draws):
    """Whatever the draws of dictionaries that nobody chose, and in whichever order sums are rounded."""
    cells, sides = [], []
    for repeat in range(3):
        for draw in range(draws):
            cells.append(cell("sae", **SAE, threshold="none", selection="none", cv=0.5, draw=draw, repeat=repeat))
            sides.append(answers(0.5, 83, seed=draw))
        cells.append(cell("hidden", **HIDDEN, cv=0.7, repeat=repeat))
        sides.append(answers(0.7, 83, seed=[9, repeat]))
    study = table_of(cells, sides)
    row = verdicts_of(study, ["d"]).row(0, named=True)
    assert row["left"] == row["right"] and row["left_draws"] == draws
    assert row["difference"] == pytest.approx(0, abs=1e-15) and row["difference_high"] - row["difference_low"] < 1e-15
    assert (row["verdict"], row["p"], row["agree"]) == ("undecided", 1.0, 1.0)


def verdicts_of(study, datasets):
    """The rows of the quiver, of a study that has no other claim."""
    return judge(Cells(*study, []).contrasts([QUIVER], datasets), QUIVER[0])


def quivers(seed, added=0.0, datasets=2, repeats=2, size=120):
    """Studies of cells that are equally good, SAE's better by `added`; cross-validated scores tell as much as tests."""
    rng, cells, sides = np.random.default_rng(seed), [], []
    for data in range(datasets):
        for repeat in range(repeats):
            for number in range(6):
                kind = cell("sae", **SAE | {"pooling": f"top{number}"}) if number < 4 else cell("hidden", **HIDDEN)
                right = 0.7 + added * (number < 4)
                name = {"pooling": f"top{number}", "data": f"d{data}", "repeat": repeat}
                cells.append(kind | name | {"cv_macro_f1": rng.normal(right, 0.03)})
                sides.append(answers(right, size, seed=[seed, data, repeat, number]))
    return table_of(cells, sides)


def test_a_quiver_of_equal_arrows_does_not_hold():
    """Of 60 studies whose claim is tested at .05."""
    found = []
    for seed in range(60):
        found += verdicts_of(quivers(seed, datasets=1), ["d0"])["verdict"].to_list()
    assert found.count("holds") <= 5 and found.count("fails") <= 5


def test_a_quiver_holds_where_latents_add_and_its_row_can_be_recomputed():
    scores, predictions = quivers(3, added=0.15, size=200)
    found = verdicts_of((scores, predictions), ["d0", "d1"])
    assert found["on"].to_list() == [ALL, THESE, "d0", "d1"] and found["verdict"][1] == "holds"
    expected, told = [], predictions.collect()
    for data in ("d0", "d1"):
        for repeat in (0, 1):
            here = scores.filter(data=data, repeat=repeat).sort("cv_macro_f1", descending=True)
            f1 = []
            for side in (here, here.filter(features="hidden")):
                best = side.row(0, named=True)
                said = told.filter(pl.col("pooling") == best["pooling"], data=data, repeat=repeat)
                f1.append(f1_score(said["label"], said["predicted"], average="macro"))
            expected.append(f1[0] - f1[1])
    assert found.filter(on="d0")["difference"][0] == pytest.approx(np.mean(expected[:2]))
    assert found.filter(on=THESE)["difference"][0] == pytest.approx(np.mean(expected))


def test_behaviour_is_held_against_all_controls_and_the_target(study):
    scores, predictions = study
    contrasts, joint = Cells(scores, predictions, []).behaviour({"d": "big"}, {"m-random": "m"})
    claims = {contrast.claim.split(" > ")[1] for contrast in contrasts}
    assert claims == {"SAE of m-random", "frozen SAE of m", "TF-IDF", "text length", "SAE of big"}
    [(whole, parts)] = joint.items()
    assert whole == "SAE of m predicts behaviour > all controls"
    assert {part.split(" > ")[1] for part in parts} == claims - {"SAE of big"}
    found = judge(contrasts)
    assert together(whole, found, parts)["verdict"].to_list() == ["holds"]
    table = behaviour_table(scores, {"d": "big"}, {"m-random": "m"})
    roles = dict(table.select("contestant", "role").iter_rows())
    assert roles["SAE of big"] == "target" and roles["SAE of m"] == "source" and roles["TF-IDF"] == "control"
    assert roles["frozen SAE of m"] == roles["frozen SAE of big"] == "control"
    assert table.filter(contestant="SAE of m")["cells_searched"].to_list() == [4]
    assert behaviour_table(scores, {}, {}).is_empty()


def test_of_transfer(study):
    place = {"scenario": "s", "fraction": 1.0, "pooling": "sum", "threshold": "none", "model": "m", "layer": 1}
    rows = [
        ("sae", "a", "b", "source", 0.8, False),
        ("sae", "b", "b", "native", 0.95, False),
        ("sae", "a", "b", "source", 0.55, True),
        ("tfidf", "a", "b", "source", 0.5, False),
        ("sae", "a", "b", "source", 0.99, "all"),
    ]
    best, predictions = [], []
    for number, (features, source, target, condition, right, control) in enumerate(rows):
        about = place | {"features": features, "source": source, "target": target, "condition": condition}
        frozen = control if control == "all" else None
        about |= {"width": f"64{frozen or ''}" if features == "sae" else None, "model": "r" if control is True else "m"}
        best.append(about | {"control": control is True, "frozen": frozen, "repeat": 0})
        predictions.append(
            answers(right, seed=number).with_columns(**{k: pl.lit(v) for k, v in about.items()}, repeat=pl.lit(0))
        )
    frame = pl.concat([one.with_row_index("example") for one in predictions], how="vertical_relaxed")
    found = judge(between(pl.DataFrame(best, infer_schema_length=None), frame.lazy()))
    said = dict(found.select("claim", "verdict").iter_rows())
    assert said == {
        "zero-shot SAE > chance": "holds",
        "zero-shot SAE > zero-shot TF-IDF": "holds",
        "zero-shot SAE > zero-shot random SAE": "holds",
        "zero-shot SAE > zero-shot frozen SAE": "fails",
        "zero-shot SAE > native SAE": "fails",
    }
    assert set(found["on"]) == {"s: a → b"}


def trained_and_frozen(skill: dict[str | None, float], seed: int) -> str:
    """The verdict on SAE > frozen SAE: five repeats, three draws of either, each by luck a little better or worse."""
    generator, scores, answered = np.random.default_rng(seed), [], []
    types = {key: pl.String for key in (*CELL, "split", "frozen")} | {"layer": pl.Int64}
    for frozen, right in skill.items():
        for threshold in ("none", "1.0"):
            place = SAE | {"width": "64_frozen" if frozen else "64"}
            about = cell("sae", threshold=threshold, selection="none", frozen=frozen, **place)
            for draw in range(3):
                told = repeated(right + generator.normal(0, 0.02), seed=int(generator.integers(2**31)))
                cv = {"cv_macro_f1": right + generator.normal(0, 0.02)}
                scores += [about | cv | {"draw": draw, "repeat": repeat} for repeat in range(5)]
                fit = {key: pl.lit(about[key], types[key]) for key in (*CELL, "split")}
                answered.append(told.with_columns(draw=pl.lit(draw), **fit))
    frame = pl.DataFrame(scores, schema_overrides=types, infer_schema_length=None)
    (contrast,) = (one for one in Cells(frame, pl.concat(answered).lazy(), []).within(["d"]) if "frozen" in one.claim)
    row = judge([contrast], contrast.claim).row(0, named=True)
    assert (row["claim"], row["left_draws"], row["right_draws"], row["repeats"]) == ("SAE > frozen SAE", 3, 3, 5)
    return row["verdict"]


def test_an_sae_that_is_no_better_than_a_frozen_one_is_not_said_to_be():
    """Forty studies in which training adds nothing, and twenty in which it does."""
    verdicts = [trained_and_frozen({None: 0.8, "all": 0.8}, seed) for seed in range(40)]
    assert verdicts.count("holds") <= 3 and verdicts.count("fails") <= 3
    assert [trained_and_frozen({None: 0.9, "all": 0.7}, seed) for seed in range(20)].count("holds") >= 19


DIFFERENCES = {"random match": (0.3, 0.2), "random directions": (0.1, 0.08), "random SAEs": (0.2, 0.05)}


def of_one_match(differences, error=0.01, ridge=(-0.2, -0.1)):
    """The claims of a match in a study without any other."""
    place = {"match": "t", "data": "d", "source": "m/3/512", "target": "n/3/512", "pairing": "one_to_one"}
    place |= {"pooling": "sum", "threshold": "none", "selection": "none", "examples": 100, "draws": 5}
    rows = []
    for against, values in {**differences, "ridge map": ridge}.items():
        for metric, value in zip(("macro_f1", "roc_auc"), values, strict=True):
            effect = verdicts.Effect(value, [verdicts.Part(error**2, 50)])
            about = {"against": against, "metric": metric, "difference": value, "error": error, "freedom": 50.0}
            rows.append(place | about | {"p": effect.p})
    return judge([], None, of_matches(pl.DataFrame(rows)))


def test_claims_of_matches_stand_in_the_same_table():
    found = of_one_match(DIFFERENCES)
    assert dict(found.schema) == SCHEMA
    assert found.select("claim", "difference", "metric", "verdict").rows() == [
        ("latents transfer: matched latents", 0.05, "roc_auc", "holds"),
        ("matched latents > ridge map", -0.1, "roc_auc", "fails"),
    ]
    assert found["on"][0] == "t: d, m/3/512 → n/3/512"
    assert found["right"].to_list() == ["n/3/512, random SAEs", "n/3/512, ridge map"]
    assert sorted(found["level"]) == [0.95, 0.975]  # one family of two (Holm)


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ((0.2, 0.05), "holds"),
        ((0.2, 0.001), "undecided"),
        ((0.2, -0.2), "undecided"),  # a shift of decisions, or luck: the two metrics disagree
        ((-0.2, -0.1), "fails"),
        ((-0.2, -0.001), "undecided"),
    ],
)
def test_a_match_needs_every_control_in_both_metrics(control, said):
    for name in DIFFERENCES:
        found = of_one_match({**DIFFERENCES, name: control}, ridge=(0, 0))
        assert found["verdict"][0] == said, name
    low, high = found.select("difference_low", "difference_high").row(0)
    assert (low > 0 or high < 0) == (said in ("holds", "fails")) or control[0] * control[1] < 0


def test_a_match_without_one_of_its_controls_claims_nothing():
    found = of_one_match({name: DIFFERENCES[name] for name in ("random match", "random directions")})
    assert found["claim"].to_list() == ["matched latents > ridge map"]


def test_a_control_that_is_better_is_one_of_three():
    """By chance alone one of three controls is better three times as often as a certain one."""
    differences = {**DIFFERENCES, "random SAEs": (-0.025, -0.025)}
    p = verdicts.Effect(-0.025, [verdicts.Part(0.01**2, 50)]).p
    found = of_one_match(differences, ridge=(1, 1))
    assert found["p"][0] == pytest.approx(3 * p)
