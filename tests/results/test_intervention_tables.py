"""The tables of interventions: side effects on the prompts whose α was not chosen by them."""

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.proportion import proportion_confint
from tessera.base.files import write_parquet
from tessera.evidence.sufficiency import DIFFERENCE
from tessera.interventions.steering import VARIANTS
from tessera.results.catalogue import TABLES
from tessera.results.intervention_tables import intervention_tables
from tessera.steering.effects import VALUES, halved
from tessera.steering.measures import ANSWERS, HALVES, SIDE_EFFECTS
from tessera.steering.reading import WRITTEN
from tessera.study import paths

ALPHAS, PROMPTS, DRAWS = [0.1, 0.2], 40, 3
ABOUT = {"model": "m", "layer": "1", "width": "8", "data": "d", "class": "c", "acted_on": "content", "perplexity": 1.5}


def values(seed: int) -> pl.DataFrame:
    """Log-odds of every prompt; and of those whose answer changed, a third of them, whether it was right."""
    generator, rows = np.random.default_rng(seed), []
    for draw in range(DRAWS + 1):
        for alpha in ALPHAS:
            for item in range(PROMPTS):
                about = (draw, draw > 0, alpha, f"p{item}", f"g{item // 2}")
                rows.append((ANSWERS, None, *about, alpha * (draw == 0) + generator.normal()))
                if generator.random() < 1 / 3:
                    rows.append((SIDE_EFFECTS, None, *about, float(generator.random() < 0.7)))
    return pl.DataFrame(rows, schema=VALUES, orient="row")


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    folder = tmp_path_factory.mktemp("tables")
    whole, files, folders = values(0), {"values": [], "texts": [], "tells": []}, []
    told = {"against": "chance on held-out texts", "difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    told |= {"error": 0.05, "freedom": 40.0, "p": 0.0002, "repeats": 1, "draws": 1, "examples": 50}
    random = values(1).filter("controls", measure=ANSWERS)
    for direction, some, tells in (("probe", whole, [told]), ("random", random, [])):
        here = {"scenario": "s", "direction": direction}
        frames = {
            "values": some,
            "texts": pl.DataFrame(schema=WRITTEN),
            "tells": pl.DataFrame(tells, schema=DIFFERENCE),
        }
        for part, frame in frames.items():
            pattern = paths.DIRECTIONS if part == "tells" else paths.STEERING
            files[part].append(str(folder / pattern.format(part=part, **here)))
            write_parquet(files[part][-1], frame)
        folders.append(str(folder / paths.STEERED.format(**here)))
        variants = pl.DataFrame([(0, None, False, 0.0, 12.5)], schema=VARIANTS, orient="row")
        write_parquet(f"{folders[-1]}/variants.parquet", variants)
    return whole, intervention_tables(files, folders, {"s": ABOUT}, 0)


def test_columns_are_those_of_the_catalogue(found):
    for name, table in found[1].items():
        assert table.columns == list(TABLES[name].columns)
    assert found[1]["interventions"]["unit"].unique().to_list() == [12.5]


def test_side_effects_are_of_the_half_that_answers_are_of(found):
    whole, tables = found
    groups = whole.filter(measure=ANSWERS)["group"]
    half = dict(zip(groups, halved(groups, 0), strict=True))
    for row in tables["interventions"].filter(measure=SIDE_EFFECTS).iter_rows(named=True):
        some = whole.filter(measure=SIDE_EFFECTS, alpha=row["alpha"], controls=row["controls"])
        of_half = some.filter(pl.Series([half[group] == row["half"] for group in some["group"]]))
        means = of_half.group_by("item", "group").agg(pl.col("value").mean())
        assert row["change"] == pytest.approx(means["value"].mean()) and row["prompts"] == len(means)
        groups = means["group"].n_unique()
        ends = proportion_confint(means["value"].mean() * groups, groups, method="wilson")
        np.testing.assert_allclose((row["change_low"], row["change_high"]), ends)
    assert set(tables["interventions"].filter(measure=SIDE_EFFECTS)["half"]) == set(HALVES)


def test_their_best_alpha_is_that_of_the_answers(found):
    best = found[1]["interventions"].filter(pl.col("best"), direction="probe")
    assert best["alpha"].n_unique() == 1 and set(best["measure"]) == {ANSWERS, SIDE_EFFECTS}


def test_claims_are_named_by_scenario_and_effect(found):
    claims = found[1]["intervention_claims"]
    assert claims["on"].to_list() == [f"s: {ANSWERS}"] * 3
    assert claims["against"].to_list() == ["chance on held-out texts", "random directions", "shuffled labels"]
