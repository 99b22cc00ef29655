"""What steering did: halves, the best α, means with their intervals, and claims that luck alone does not hold."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import stats
from tessera.results.claims import of_evidence
from tessera.steering.effects import RESPONSES, VALUES, Response, Scenario, claims, halved, response, responses
from tessera.steering.measures import (
    ANSWERS,
    HALVES,
    KL,
    PERPLEXITY,
    READER,
    REPORT,
    SELECTIVITY,
    VALIDATION,
    most,
)

ALPHAS = [0.1, 0.2, 0.4]
PROMPTS, DRAWS = 30, 5


def rows(
    value_DAI: np.ndarray,
    *,
    controls: bool = False,
    measure: str = ANSWERS,
    of: str | None = None,
    alphas: list[float] = ALPHAS,
    groups: list[str] | None = None,
) -> pl.DataFrame:
    """Values as `measuring.valued` leaves them: of a direction (draw 0), or of its controls."""
    draws, _, items = value_DAI.shape
    groups = groups or [str(item) for item in range(items)]
    return pl.DataFrame(
        [
            (measure, of, draw + controls, controls, alpha, f"p{item}", groups[item], value)
            for draw in range(draws)
            for number, alpha in enumerate(alphas)
            for item, value in enumerate(value_DAI[draw, number])
        ],
        schema=VALUES,
        orient="row",
    )


def draw(seed: int, draws: int = 1, alphas: int = 3, items: int = PROMPTS, size: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=size, size=(draws, alphas, items))


def study(**parts: pl.DataFrame | list[pl.DataFrame]) -> Scenario:
    whole = {name: pl.concat(part) if isinstance(part, list) else part for name, part in parts.items()}
    return Scenario.of(whole, 1.5, seed=0)


def placed(half: str, items: int = PROMPTS) -> np.ndarray:
    """Prompts of a half."""
    groups = pl.Series([str(item) for item in range(items)])
    return np.flatnonzero((halved(groups, 0) == half).to_numpy())


# Halves.


def test_halves_keep_groups_whole_and_are_as_large_as_each_other():
    groups = pl.Series([f"g{number // 3}" for number in range(303)])
    half = halved(groups, 0)
    by_group = pl.DataFrame({"group": groups, "half": half}).group_by("group").agg(pl.col("half").unique())
    assert by_group["half"].list.len().to_list() == [1] * 101
    counts = by_group["half"].explode().value_counts()["count"]
    assert sorted(counts) == [50, 51]


def test_halves_are_the_same_whatever_the_order_of_prompts_and_others_of_another_seed():
    groups = pl.Series([f"g{number // 2}" for number in range(200)])
    order = np.random.default_rng(0).permutation(200)
    half = halved(groups, 0).to_numpy()
    assert (halved(groups.gather(order), 0).to_numpy() == half[order]).all()
    assert 0.3 < (halved(groups, 1).to_numpy() == half).mean() < 0.7


def test_halves_do_not_follow_names():
    half = (halved(pl.Series([f"{number:03}" for number in range(200)]), 0) == VALIDATION).to_numpy()
    assert abs(half[:100].mean() - 0.5) < 0.15 and abs(half[::2].mean() - 0.5) < 0.15


def test_a_prompt_without_a_value_somewhere_is_left_out_and_moves_no_other():
    value_DAI = draw(0, draws=4)
    holed_DAI = value_DAI.copy()
    holed_DAI[2, 1, 7] = np.nan
    whole, holed = (
        response(rows(one).with_columns(pl.col("value").fill_nan(None)), 0) for one in (value_DAI, holed_DAI)
    )
    kept = whole.item_I != "p7"
    assert holed.item_I.tolist() == whole.item_I[kept].tolist()
    assert holed.half_I.tolist() == whole.half_I[kept].tolist()
    np.testing.assert_array_equal(holed.value_DAI, whole.value_DAI[:, :, kept])


def test_a_response_does_not_depend_on_the_order_of_rows():
    frame = rows(draw(0, draws=3), controls=True)
    one, other = response(frame, 0), response(frame.sample(fraction=1, shuffle=True, seed=1), 0)
    np.testing.assert_array_equal(one.value_DAI, other.value_DAI)
    assert one.half_I.tolist() == other.half_I.tolist()
    place = one.item_I.tolist().index("p12")
    np.testing.assert_array_equal(one.value_DAI[:, :, place], draw(0, draws=3)[:, :, 12])


# The best α.


def test_the_best_alpha_is_that_of_the_validation_half_alone():
    value_DAI = np.zeros((1, 3, PROMPTS))
    value_DAI[:, 1, placed(VALIDATION)] = 1
    value_DAI[:, 2, placed(REPORT)] = 100
    assert study(probe=rows(value_DAI)).best("probe", ANSWERS) == 1


def test_it_harms_neutral_texts_of_the_validation_half_by_less_than_is_allowed():
    value_DAI = np.ones((1, 3, PROMPTS)) * np.array([1.0, 2.0, 3.0])[None, :, None]

    def best(*ratios: float) -> int:
        harm_DAI = np.zeros((1, 3, PROMPTS))
        harm_DAI[:, :, placed(VALIDATION)] = np.log(ratios)[None, :, None]
        harm_DAI[:, :, placed(REPORT)] = 9
        return study(probe=[rows(value_DAI), rows(harm_DAI, measure=PERPLEXITY)]).best("probe", ANSWERS)

    assert best(1.0, 1.4, 1.49) == 2
    assert best(1.0, 1.4, 1.51) == 1
    assert best(1.49, 1.6, 1.7) == 0
    assert best(1.6, 1.7, 1.0) == 2
    assert best(1.6, 1.7, 1.8) == 0


def test_negative_alphas_are_steps_as_others_are():
    alphas = [0.3, -0.4, 0.2, -0.1]  # as a config may have them
    value_DAI = np.array(alphas)[None, :, None] * -np.ones((1, 4, PROMPTS))
    one = study(probe=rows(value_DAI, alphas=alphas))
    assert one.alphas == [-0.4, -0.1, 0.2, 0.3]
    assert one.alphas[one.best("probe", ANSWERS)] == -0.4
    harm = rows(np.full((1, 4, PROMPTS), 5.0), alphas=alphas, measure=PERPLEXITY)
    one = study(probe=[rows(value_DAI, alphas=alphas), harm])
    assert one.alphas[one.best("probe", ANSWERS)] == -0.1  # where all harm, the smallest


def test_random_directions_have_the_best_alpha_of_their_mean():
    value_DAI = draw(3, draws=4)
    expected = value_DAI[:, :, placed(VALIDATION)].mean(axis=(0, 2)).argmax()
    assert study(random=rows(value_DAI, controls=True)).best("random", ANSWERS) == expected


def test_there_is_no_best_alpha_of_what_was_not_measured():
    assert study(probe=rows(draw(0))).best("probe", READER) is None


# Means.


def one_row(frame: pl.DataFrame, **names) -> dict:
    return frame.filter(**names).row(0, named=True)


def test_a_mean_of_one_draw_has_the_interval_of_students_t():
    value_DAI = draw(1)
    found = responses(study(probe=rows(value_DAI)))
    assert found.schema == pl.Schema(RESPONSES) and len(found) == 6
    for half in HALVES:
        for number, alpha in enumerate(ALPHAS):
            row, some = one_row(found, half=half, alpha=alpha), value_DAI[0, number, placed(half)]
            assert row["change"] == pytest.approx(some.mean())
            assert (row["draws"], row["prompts"]) == (1, len(some))
            # degrees of freedom (Σu²)² / Σu⁴ of influence values, in place of n − 1
            u = some - some.mean()
            freedom = (u**2).sum() ** 2 / (u**4).sum()
            ends = stats.t.interval(0.95, freedom, loc=some.mean(), scale=stats.sem(some))
            np.testing.assert_allclose((row["change_low"], row["change_high"]), ends)


def test_a_mean_of_several_draws_counts_how_they_differ():
    value_DAI = draw(2, draws=4, size=0.1) + np.random.default_rng(5).normal(size=(4, 1, 1))
    row = one_row(responses(study(random=rows(value_DAI, controls=True))), half=REPORT, alpha=0.2)
    some_DI = value_DAI[:, 1, placed(REPORT)]
    error = np.sqrt(stats.sem(some_DI.mean(axis=0)) ** 2 + stats.sem(some_DI.mean(axis=1)) ** 2)
    assert row["change"] == pytest.approx(some_DI.mean())
    half = (row["change_high"] - row["change_low"]) / 2
    assert stats.t.ppf(0.975, 3.2) * error < half <= stats.t.ppf(0.975, 3) * error * 1.0001
    assert (row["controls"], row["draws"], row["prompts"]) == (True, 4, some_DI.shape[1])


def test_prompts_of_a_group_count_as_one():
    value_I = np.repeat(np.random.default_rng(0).normal(size=20), 3)
    groups = [f"g{item // 3}" for item in range(60)]
    many = responses(study(probe=rows(value_I[None, None], groups=groups, alphas=[0.1])))
    names = [str(name) for name in dict.fromkeys(groups)]
    once = responses(study(probe=rows(value_I[None, None, ::3], groups=names, alphas=[0.1])))
    ends = ["half", "change", "change_low", "change_high"]
    np.testing.assert_allclose(many.select(ends[1:]).to_numpy(), once.select(ends[1:]).to_numpy())


def test_probabilities_change_by_one_at_most_and_nats_by_any_number():
    assert [most(measure) for measure in (READER, SELECTIVITY, ANSWERS, KL)] == [1, 1, np.inf, np.inf]
    wide = np.tile([0.99, -0.99], PROMPTS // 2)[None, None] * np.ones((1, 3, 1))
    found = responses(study(probe=rows(wide[:, :, :4], measure=READER)))
    assert found["change_low"].min() >= -1 and found["change_high"].max() <= 1
    assert responses(study(probe=rows(9 + wide)))["change_high"].min() > 1


def test_best_marks_the_alpha_of_the_effect_on_its_harms_too():
    value_DAI = np.ones((1, 3, PROMPTS)) * np.array([1.0, 3.0, 2.0])[None, :, None]
    harms = [rows(draw(4, size=0.01), measure=measure) for measure in (PERPLEXITY, KL)]
    other = rows(draw(5), measure=SELECTIVITY, of="other")
    controls = rows(draw(6, draws=3), controls=True)
    found = responses(study(probe=[rows(value_DAI), *harms, other, controls]))
    assert found.filter(pl.col("best"))["alpha"].unique().to_list() == [0.2]
    assert found.filter(pl.col("best")).height == 2 * 5


# What claims rest on.


def moments(value_DI: np.ndarray) -> tuple[float, float]:
    """Variance of what influence of prompts adds up to, and its degrees of freedom."""
    u = (value_DI - value_DI.mean()) / len(value_DI)
    return (u**2).sum() * len(u) / (len(u) - 1), (u**2).sum() ** 2 / (u**4).sum()


def welch(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Standard error and degrees of freedom of a sum."""
    variance = sum(part for part, _ in parts)
    return np.sqrt(variance), variance**2 / sum(part**2 / freedom for part, freedom in parts)


@pytest.fixture(scope="module")
def three() -> tuple[dict[str, np.ndarray], pl.DataFrame]:
    """A probe's direction, the difference of means and random directions: their values, and the claims."""
    luck = np.random.default_rng(8).normal(scale=0.5, size=(DRAWS, 3, 1))
    values = {
        "probe": draw(10) + 5 * np.array([0.1, 0.2, 0.4])[:, None],
        "probe controls": draw(11, DRAWS) + luck,
        "difference": draw(12) + 3 * np.array([0.1, 0.4, 0.2])[:, None],
        "difference controls": draw(13, DRAWS) + luck[::-1],
        "random": draw(14, DRAWS) - luck,
    }
    kl = {name: np.abs(one) / 10 for name, one in values.items()}

    def of(name: str) -> list[pl.DataFrame]:
        parts = [(name, False), (f"{name} controls", True)] if name != "random" else [(name, True)]
        return [
            rows(some[part], controls=control, measure=measure)
            for part, control in parts
            for some, measure in ((values, ANSWERS), (kl, KL))
        ]

    scenario = study(probe=of("probe"), difference=of("difference"), random=of("random"))
    assert [scenario.best(name, ANSWERS) for name in ("probe", "difference")] == [2, 1]
    reported = {}
    for name, one in values.items():  # each draw at the α of its largest mean in the other half
        numbers = one[:, :, placed(VALIDATION)].mean(axis=2).argmax(axis=1)
        for several, suffix in ((values, ""), (kl, " kl")):
            whole = several[name][:, :, placed(REPORT)]
            reported[name + suffix] = np.array([draw[number] for draw, number in zip(whole, numbers, strict=True)])
    return reported, claims(scenario)


def check(row: dict, difference: float, parts: list[tuple[float, float]]) -> None:
    error, freedom = welch(parts)
    assert row["difference"] == pytest.approx(difference)
    assert row["error"] == pytest.approx(error) and row["freedom"] == pytest.approx(freedom)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
    half = stats.t.ppf(0.975, freedom) * error
    np.testing.assert_allclose((row["difference_low"], row["difference_high"]), (difference - half, difference + half))


def test_claims_are_these(three):
    _, found = three
    assert found.select("claim", "metric", "against").rows() == [
        ("steering by the probe's latents > chance", ANSWERS, "random directions"),
        ("steering by the probe's latents > chance", ANSWERS, "shuffled labels"),
        ("steering by the probe's latents > by the difference of means", ANSWERS, "the difference of means"),
        ("harm by the difference of means > by the probe's latents", KL, "the difference of means"),
        ("steering by the difference of means > chance", ANSWERS, "random directions"),
        ("steering by the difference of means > chance", ANSWERS, "shuffled labels"),
    ]
    assert found["effect"].unique().to_list() == [ANSWERS]
    assert found["draws"].to_list() == [5, 5, 1, 1, 5, 5] and found["examples"].unique().to_list() == [PROMPTS // 2]


def test_against_its_own_controls_one_estimate_of_luck_is_both_sides(three):
    values, found = three
    ours_I, theirs_DI = values["probe"][0], values["probe controls"]
    spread = theirs_DI.mean(axis=1).var(ddof=1)
    parts = [moments(ours_I - theirs_DI.mean(axis=0)), (spread * (1 + 1 / DRAWS), DRAWS - 1)]
    row = one_row(found, claim="steering by the probe's latents > chance", against="shuffled labels")
    check(row, ours_I.mean() - theirs_DI.mean(), parts)


def test_against_random_directions_the_luck_of_a_direction_is_that_of_its_controls(three):
    values, found = three
    ours_I, theirs_DI = values["probe"][0], values["random"]
    own = values["probe controls"].mean(axis=1).var(ddof=1)
    theirs = theirs_DI.mean(axis=1).var(ddof=1)
    parts = [moments(ours_I - theirs_DI.mean(axis=0)), (own, DRAWS - 1), (theirs / DRAWS, DRAWS - 1)]
    row = one_row(found, claim="steering by the probe's latents > chance", against="random directions")
    check(row, ours_I.mean() - theirs_DI.mean(), parts)


@pytest.mark.parametrize("measure", [ANSWERS, KL])
def test_against_the_difference_of_means_each_has_its_alpha_and_its_luck(three, measure):
    values, found = three
    suffix, sign = ("", 1) if measure == ANSWERS else (" kl", -1)
    ours_I, theirs_I = values[f"probe{suffix}"][0], values[f"difference{suffix}"][0]
    spreads = [values[f"{name} controls{suffix}"].mean(axis=1).var(ddof=1) for name in ("probe", "difference")]
    parts = [moments(ours_I - theirs_I), *((spread, DRAWS - 1) for spread in spreads)]
    row = one_row(found, metric=measure, against="the difference of means")
    check(row, sign * (ours_I.mean() - theirs_I.mean()), parts)


def test_nothing_is_claimed_of_one_group_of_prompts():
    groups = ["a", "a", "b", "b"]
    parts = [rows(draw(1, items=4), groups=groups), rows(draw(2, 3, items=4), controls=True, groups=groups)]
    random = [rows(draw(3, 3, items=4), controls=True, groups=groups)]
    few, many = study(probe=parts, random=random), [one.with_columns(group="item") for one in (*parts, *random)]
    few.tells = {"probe": {"against": "chance on held-out texts", "difference": 0.4, "p": 1e-9}}
    assert claims(few).is_empty()  # nor is it held by what held-out texts tell alone
    assert claims(study(probe=many[:2], random=many[2:])).height == 2


def test_without_random_directions_nothing_is_said_of_chance():
    assert claims(study(probe=[rows(draw(1)), rows(draw(2, 3), controls=True)])).is_empty()


def test_latents_are_held_against_other_latents():
    random = [rows(draw(3, 3), controls=True)]
    scenario = study(**{"latent-7": [rows(draw(1)), rows(draw(2, 3), controls=True)], "random": random})
    claim = "steering by latent 7 > chance"
    assert claims(scenario).select("claim", "against").rows() == [
        (claim, "random directions"),
        (claim, "other latents"),
    ]


# How often luck alone holds a claim.


def verdict(scenario: Scenario) -> str:
    of_one = claims(scenario).with_columns(on=pl.lit("here"))
    (joined,) = of_evidence(of_one.filter(pl.col("claim") == "steering by the probe's latents > chance"))
    return joined.decide(0.95)["verdict"]


def lucky(generator: np.random.Generator, effect: float, shape: Callable, alphas: list[float]) -> Scenario:
    """A direction, its controls and random ones, whose effects over α are drawn alike; and each prompt's own."""
    items = np.array([f"p{item:02}" for item in range(24)])
    half_I = np.array([HALVES[item % 2] for item in range(24)])

    def some(draws: int) -> Response:
        steps_A = np.array(alphas) / max(alphas)
        own_DAI = generator.normal(size=(draws, 1, 24)) * steps_A[:, None]
        value_DAI = shape(generator, draws, steps_A)[:, :, None] + own_DAI
        return Response(value_DAI, items, items, half_I)

    found = {("probe", False, ANSWERS, None): some(1), ("probe", True, ANSWERS, None): some(DRAWS)}
    found["random", True, ANSWERS, None] = some(DRAWS)
    found["probe", False, ANSWERS, None].value_DAI += effect * (np.array(alphas) / max(alphas))[:, None]
    return Scenario(found, alphas, 1.5)


def along(generator: np.random.Generator, draws: int, steps_A: np.ndarray) -> np.ndarray:
    """As far as α, one way or the other."""
    return generator.normal(size=(draws, 1)) * steps_A


def any_way(generator: np.random.Generator, draws: int, steps_A: np.ndarray) -> np.ndarray:
    """At each α anew."""
    return generator.normal(size=(draws, len(steps_A)))


def held(effect: float, shape: Callable = along, alphas: list[float] = ALPHAS, studies: int = 400) -> float:
    generator = np.random.default_rng(0)
    return np.mean([verdict(lucky(generator, effect, shape, alphas)) == "holds" for _ in range(studies)])


@pytest.mark.parametrize("alphas", [ALPHAS, [-0.4, -0.2, 0.2, 0.4]], ids=["one way", "both ways"])
@pytest.mark.parametrize("shape", [along, any_way])
def test_luck_alone_seldom_holds_a_claim(shape, alphas):
    assert held(0, shape, alphas) <= 0.07


def test_a_true_effect_holds_in_most_studies():
    assert held(5, studies=100) > 0.6
