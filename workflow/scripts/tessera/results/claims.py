"""The published claims, one by one, on the data of the study: effect, interval, verdict.

Both sides of a claim are the cells that are best by cross-validation inside the training split, scored on the same test
examples, which are resampled together (paired bootstrap).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from tessera.features.registry import KINDS
from tessera.probes.metrics import LEVEL, chance_macro_f1, macro_f1_of, resample_weights
from tessera.probes.verdicts import decided, enough
from tessera.results.contestants import ALL, ANY, CONTESTANTS, roles
from tessera.results.tables import best_of
from tessera.study.grid import CELL

SCHEMA = {
    "claim": pl.String,
    "on": pl.String,
    "split": pl.String,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "level": pl.Float64,
    "verdict": pl.String,
    "left": pl.String,
    "right": pl.String,
    "examples": pl.Int64,
}


@dataclass
class Contrast:
    """One claim on one data set: the predictions of its left side, and of its right (None: chance).

    Both have a row per test example, in the same order, with the columns id, group, label and predicted.
    """

    claim: str
    on: str
    split: str
    left: pl.DataFrame
    right: pl.DataFrame | None
    left_cell: str = ""
    right_cell: str = "chance"


def judge(contrasts: list[Contrast], *, resamples: int, seed: int) -> pl.DataFrame:
    """A row per contrast, and one per claim for the mean over the test splits of its data sets.

    The interval of one row among the D of a claim has the level 1 − .05 / D (Bonferroni): the chance that any of them
    is decided wrongly stays about .05 (percentile intervals of small test splits are somewhat too narrow). `holds` says
    that the whole interval of left − right, in macro F1, lies above zero, `fails` below; else the data leave it
    `undecided`.
    """
    rows: list[dict] = []
    for claim in dict.fromkeys(contrast.claim for contrast in contrasts):
        members = [contrast for contrast in contrasts if contrast.claim == claim]
        level = 1 - (1 - LEVEL) / len(members)
        size = enough(resamples, level)
        weights = cache(lambda group: resample_weights(np.frombuffer(group, np.int64), size, seed))  # noqa: B023
        differences = [_difference(contrast, weights) for contrast in members]
        for contrast, values_B in zip(members, differences, strict=True):
            row = {"claim": claim, "on": contrast.on, "split": contrast.split}
            row |= decided(values_B, level) | {"left": contrast.left_cell, "right": contrast.right_cell}
            rows.append(row | {"examples": len(contrast.left)})
        tests = [values_B for one, values_B in zip(members, differences, strict=True) if one.split == "test"]
        if len(tests) > 1:
            rows.append({"claim": claim, "on": ALL, "split": "test"} | decided(np.mean(tests, axis=0), LEVEL))
    return pl.DataFrame(rows, schema=SCHEMA)


def _weakest_first(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(pl.col("verdict") != "fails", "difference_low", maintain_order=True)


def together(claim: str, found: pl.DataFrame, parts: list[str]) -> pl.DataFrame:
    """The claim that all of `parts` hold at once, per data set with all of them: the row of the weakest.

    It holds where each part does, so it needs no correction for their number (intersection-union test).
    """
    rows = found.filter(pl.col("claim").is_in(parts), pl.col("on") != ALL).filter(
        pl.len().over("on", "split") == len(parts)
    )
    weakest = _weakest_first(rows).unique(["on", "split"], keep="first", maintain_order=True)
    return weakest.with_columns(claim=pl.lit(claim)).sort("on", "split")


def _difference(contrast: Contrast, weights: Callable[[bytes], np.ndarray]) -> np.ndarray:
    left, right = contrast.left, contrast.right
    # Groups by their smallest id: what has one id in two data sets, such as a translation, is drawn together.
    groups = left.select(pl.col("id").min().over("group").rank("dense").cast(pl.Int64)).to_series()
    weights_BE = weights(groups.to_numpy().tobytes())
    if right is None:
        return macro_f1_of(left, weights_BE) - chance_macro_f1(left, weights_BE)
    if not left.select("label", "group").equals(right.select("label", "group")):
        raise ValueError(f"{contrast.claim}, {contrast.on}: the sides were scored on different examples")
    return macro_f1_of(left, weights_BE) - macro_f1_of(right, weights_BE)


SAE_TITLE = KINDS["sae"].title
SAE, EVERY_LATENT = CONTESTANTS[SAE_TITLE], pl.col("selection") == "none"
BINARISED = SAE & (pl.col("threshold") != "none")
REAL = SAE & (pl.col("threshold") == "none")
SELECTED = pl.col("selection").str.extract(r"-(\d+)$").cast(pl.Int64)


def within(scores: pl.DataFrame, predictions: pl.LazyFrame) -> list[Contrast]:
    """Of one data set each: does the SAE beat every other contestant; is binarising as good as selecting latents?"""
    claims = [(f"{SAE_TITLE} > {name}", SAE, other) for name, other in CONTESTANTS.items() if name != SAE_TITLE]
    claims.append(("binarised > real-valued, all latents", BINARISED & EVERY_LATENT, REAL & EVERY_LATENT))
    claims.append(("binarised, all latents > real-valued, selected", BINARISED & EVERY_LATENT, REAL & ~EVERY_LATENT))
    for k in scores.select(SELECTED).to_series().drop_nulls().unique().sort():
        of_size = SELECTED.eq(k)
        claims.append((f"binarised > real-valued, {k} selected latents", BINARISED & of_size, REAL & of_size))
    return [contrast for claim in claims for contrast in _contrasts(*claim, scores, predictions)]


def behaviour(
    scores: pl.DataFrame, predictions: pl.LazyFrame, targets: dict[str, str | None], controls: dict[str, str]
) -> tuple[list[Contrast], dict[str, list[str]]]:
    """Does a model's SAE predict what another model did, better than each control does?

    Returns the contrasts, and claim → the claims that must hold together for it.
    """
    contrasts: list[Contrast] = []
    joint: dict[str, list[str]] = {}
    for data, target in targets.items():
        found = scores.filter(data=data)
        cast = roles(found, target, controls)
        for source in (one for one in cast if one.role == "source" and one.title == SAE_TITLE):
            for other in (one for one in cast if one.role == "target" or one.controls in (source.model, ANY)):
                claim = f"{source.name} predicts behaviour > {other.name}"
                made = _contrasts(claim, source.cells, other.cells, found, predictions)
                contrasts += made
                whole = joint.setdefault(f"{source.name} predicts behaviour > all controls", [])
                if made and other.role == "control" and claim not in whole:
                    whole.append(claim)
    return contrasts, joint


def _contrasts(
    claim: str, left: pl.Expr, right: pl.Expr, scores: pl.DataFrame, predictions: pl.LazyFrame
) -> list[Contrast]:
    """A contrast per data set and test split on which both sides have a cell."""
    sides = [best_of(scores, condition) for condition in (left, right)]
    answers = [predictions.join(side.lazy(), on=CELL, nulls_equal=True).collect() for side in sides]
    found = []
    for data in (data for data in sides[0]["data"].sort() if data in sides[1]["data"]):
        cells = [_spell(side.filter(data=data).row(0, named=True)) for side in sides]
        for split in answers[0].filter(data=data)["split"].unique(maintain_order=True):
            rows = [side.filter(data=data, split=split).sort("example") for side in answers]
            found.append(Contrast(claim, data, split, *rows, *cells))
    return found


def _spell(cell: dict) -> str:
    place = (f"{key}={cell[key]}" for key in CELL if key not in ("features", "data") and cell.get(key) is not None)
    return " ".join([cell["features"], *place])


# What names one transferred probe among the best ones.
TRANSFER = ["scenario", "source", "target", "condition", "fraction"]


def between(best: pl.DataFrame, predictions: pl.LazyFrame) -> list[Contrast]:
    """Of transfer: is a zero-shot SAE probe above chance, above other features, above a probe of the target's own data?

    `best` is the table transfer_best, whose cells are chosen on the sources; `predictions` are those of all transfers.
    """
    cell = [key for key in CELL if key in best.columns]
    place = ["scenario", "features", "control", "condition", "source", "target"]
    chosen = best.filter(fraction=1.0).select(*TRANSFER, *cell, "control")
    answers = predictions.join(chosen.lazy(), on=[*TRANSFER, *cell], nulls_equal=True).collect()
    sides = {key: rows.sort("example") for key, rows in answers.group_by(place)}
    cells = {key: _spell(rows.row(0, named=True)) for key, rows in chosen.group_by(place)}
    found = []
    for key in sorted(key for key in sides if key[1:4] == ("sae", False, "source")):
        scenario, *_, source, target = key
        on = f"{scenario}: {source} → {target}"
        found.append(Contrast("zero-shot SAE > chance", on, "test", sides[key], None, cells[key]))
        zero_shot = {
            f"zero-shot {kind.title}": (scenario, kind.name, False, "source", source, target)
            for kind in KINDS.values()
            if kind.transfers and kind.name != "sae"
        }
        others = zero_shot | {
            "zero-shot random SAE": (scenario, "sae", True, "source", source, target),
            "native SAE": (scenario, "sae", False, "native", target, target),
        }
        for name, other in others.items():
            if other in sides:
                claim = f"zero-shot SAE > {name}"
                found.append(Contrast(claim, on, "test", sides[key], sides[other], cells[key], cells[other]))
    return found


NAMED = {"one_to_one": "matched latents", "identity": "the same SAE"}


def of_matches(found: pl.DataFrame) -> pl.DataFrame:
    """The table match_claims as rows of this one: do latents of one SAE stand for those of another?

    `latents transfer` stands with the weaker of the two differences that it rests on.
    """
    place = ["match", "data", "source", "target", "pairing"]
    whole = pl.col("claim") == "latents transfer"
    rests_on = pl.col("claim").str.contains("random match|random directions")
    rested = found.filter(rests_on).with_columns(
        verdict=pl.when(pl.col("difference_high") < 0).then(pl.lit("fails")).otherwise(pl.lit(""))
    )
    weakest = _weakest_first(rested).unique(place, keep="first", maintain_order=True)
    numbers = ["difference", "difference_low", "difference_high", "level"]
    transfer = found.filter(whole).drop(numbers).join(weakest.select(*place, *numbers), on=place, maintain_order="left")
    claim = pl.when(whole).then(pl.lit("latents transfer: ") + pl.col("pairing")).otherwise("claim")
    cell = pl.concat_str(
        *(pl.lit(f"{key}=") + pl.col(key) for key in ("pooling", "threshold", "selection")), separator=" "
    )
    kept = found.filter(~whole, pl.col("verdict").is_not_null())
    return pl.concat([kept, transfer], how="diagonal").select(
        claim=claim.str.replace_many(NAMED),
        on=pl.format("{}: {}, {} → {}", "match", "data", "source", "target"),
        split=pl.lit("test"),
        **{name: pl.col(name) for name in numbers},
        verdict="verdict",
        left=pl.col("source") + " " + cell,
        right=pl.col("target"),
        examples=pl.lit(None, pl.Int64),
    )
