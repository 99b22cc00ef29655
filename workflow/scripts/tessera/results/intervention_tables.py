"""The tables of interventions: every scenario in one, what was changed and what was harmed, what claims rest on."""

import polars as pl

from tessera.results.catalogue import TABLES
from tessera.results.merging import scan
from tessera.steering.effects import RESPONSES, Scenario, claims, responses
from tessera.steering.measures import ANSWERS, SIDE_EFFECTS


def intervention_tables(
    parts: dict[str, list[str]], steered: list[str], scenarios: dict[str, dict], seed: int
) -> dict[str, pl.DataFrame]:
    """Name → table, from the files of every part of every scenario, and what the config says of each scenario.

    steered: the folders that `interventions.steering.steer` left.
    """
    found = {part: scan(files).collect() for part, files in parts.items() if files}
    tables, rests = {}, []
    if "values" in found:
        changed, claimed = _steering(found["values"], found["tells"], scenarios, seed)
        variants = scan([f"{folder}/variants.parquet" for folder in steered]).collect()
        unit = variants.filter(variant=0).select("scenario", "direction", "unit")
        changed = changed.join(unit, on=["scenario", "direction"], how="left", maintain_order="left")
        tables["interventions"] = _as("interventions", changed, scenarios)
        tables["written_texts"] = found["texts"].select(TABLES["written_texts"].columns)
        rests.append(claimed)
    if "erasure" in found:
        tables["erasure"] = _as("erasure", found["erasure"].rename({"data": "read"}), scenarios)
        rests.append(found["erasure_claims"].with_columns(on=pl.col("scenario")))
    columns = TABLES["intervention_claims"].columns
    tables["intervention_claims"] = pl.concat([one.select(columns) for one in rests])
    return tables


def _steering(
    values: pl.DataFrame, tells: pl.DataFrame, scenarios: dict[str, dict], seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What every direction did at every α, in each half; and what claims rest on, each named by scenario and effect."""
    rows, rests = [], []
    for (name,), several in values.group_by("scenario", maintain_order=True):
        ratios = several.filter(measure=SIDE_EFFECTS)
        of_direction = {
            direction: one
            for (direction,), one in several.filter(pl.col("measure") != SIDE_EFFECTS).group_by(
                "direction", maintain_order=True
            )
        }
        scenario = Scenario.of(of_direction, scenarios[name]["perplexity"], seed)
        scenario.tells = _by_direction(tells.filter(scenario=name))
        found = pl.concat([responses(scenario), _ratios(ratios, scenario)])
        rows.append(found.with_columns(scenario=pl.lit(name)))
        rests.append(claims(scenario).with_columns(on=pl.format("{}: {}", pl.lit(name), "effect")))
    return pl.concat(rows), pl.concat(rests)


def _ratios(values: pl.DataFrame, scenario: Scenario) -> pl.DataFrame:
    """Side-effect ratios, with Wilson's interval: of answers that changed, the share that was right."""
    if not len(values):
        return pl.DataFrame(schema=RESPONSES)
    from statsmodels.stats.proportion import proportion_confint  # heavy, and only answers with a right one need it

    rows, answers = [], next(one for (_, _, measure, _), one in scenario.found.items() if measure == ANSWERS)
    halves = pl.DataFrame(
        {"item": answers.item_I, "half": answers.half_I}, schema={"item": pl.String, "half": pl.String}
    )
    by = ["direction", "controls", "half", "alpha"]
    for (direction, control, half, alpha), some in values.join(halves, on="item").group_by(by, maintain_order=True):
        of_item = some.group_by("item", "group").agg(pl.col("value").mean())  # draws of a prompt are no more prompts
        groups, ratio = of_item["group"].n_unique(), of_item["value"].mean()
        low, high = proportion_confint(ratio * groups, groups, method="wilson")
        best = scenario.best(direction, scenario.effects[0])
        about = (direction, control, SIDE_EFFECTS, None, half, alpha, scenario.alphas.index(alpha) == best)
        rows.append((*about, ratio, low, high, some["draw"].n_unique(), len(of_item)))
    return pl.DataFrame(rows, schema=RESPONSES, orient="row")


def _as(name: str, frame: pl.DataFrame, scenarios: dict[str, dict]) -> pl.DataFrame:
    """A frame in the columns of the catalogue, with what the config says of each scenario."""
    about = pl.DataFrame([{"scenario": scenario, **one} for scenario, one in scenarios.items()])
    whole = frame.join(about.with_columns(pl.col("layer").cast(pl.Int64)), on="scenario", maintain_order="left")
    return whole.select(TABLES[name].columns)


def _by_direction(tells: pl.DataFrame) -> dict[str, dict]:
    return {row.pop("direction"): row for row in tells.drop("scenario").to_dicts()}
