"""The published claims, one by one, on the data of the study: effect, interval, verdict.

Both sides of a claim are the cells that are best by cross-validation inside the training split, in each repeat anew,
scored on the same test examples (`search`). What an interval counts stands in `probes/verdicts.py`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tessera.base.errors import TesseraError
from tessera.features.registry import KINDS
from tessera.probes import verdicts
from tessera.probes.verdicts import Effect, Part, Scored
from tessera.results.contestants import (
    ALL,
    ANY,
    CONTESTANTS,
    FROZEN,
    THESE,
    TRAINED,
    WITHOUT_SAE,
    of_further_probes,
    roles,
)
from tessera.results.search import TestSplit, ranked
from tessera.steering.measures import most
from tessera.study.grid import CELL

SCHEMA = {
    "claim": pl.String,
    "role": pl.String,
    "on": pl.String,
    "split": pl.String,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "metric": pl.String,
    "level": pl.Float64,
    "p": pl.Float64,
    "verdict": pl.String,
    "agree": pl.Float64,
    "spread": pl.Float64,
    "budget": pl.Int64,
    "equal_difference": pl.Float64,
    "equal_difference_low": pl.Float64,
    "equal_difference_high": pl.Float64,
    "larger_search_only": pl.Boolean,
    "left": pl.String,
    "right": pl.String,
    "left_cells": pl.Int64,
    "right_cells": pl.Int64,
    "left_draws": pl.Int64,
    "right_draws": pl.Int64,
    "repeats": pl.Int64,
    "examples": pl.Int64,
}


@dataclass
class Side:
    """One side of a claim: its score at its best cell, at the budget of the smaller search, and what it is."""

    scored: Scored
    equal: Scored
    cell: str
    cells: int


@dataclass
class Contrast:
    """One claim on one test split.

    groups: names of the groups of test examples, in the order of the sides' influence values. sample: where the claim
    speaks of data sets to come, a name for this one; data sets with common examples have one name.
    """

    claim: str
    on: str
    split: str
    left: Side
    right: Side
    groups: list[str]
    examples: int
    sample: str | None = None

    @property
    def budget(self) -> int:
        return min(self.left.cells, self.right.cells)


def judge(contrasts: list[Contrast], primary: str | None = None, joined: list["Joined"] = ()) -> pl.DataFrame:
    """A row per contrast and joined claim; per claim with several data sets one for those to come, and one for these.

    The primary claim's first row (for data sets to come, where there are several) is tested at .05; all other rows are
    corrected together (`verdicts.levels`). `holds` says that the whole interval of left − right, in macro F1, lies
    above zero, `fails` below; else the data leave it `undecided`.

    Raises:
        TesseraError: the study has no such claim, and it is not the one by default.
    """
    rows, effects, equals = [], [], []
    for claim in dict.fromkeys(contrast.claim for contrast in contrasts):
        members = [contrast for contrast in contrasts if contrast.claim == claim]
        found = [verdicts.contrast(one.left.scored, one.right.scored) for one in members]
        equal = [verdicts.contrast(one.left.equal, one.right.equal) for one in members]
        wholes = ((verdicts.to_come, ALL, lambda one: one.sample), (verdicts.on_these, THESE, lambda one: one.groups))
        for whole, name, names in wholes:
            tests = [number for number, one in enumerate(members) if one.split == "test"]
            sampled = name == THESE or all(members[number].sample for number in tests)
            if len(tests) > 1 and sampled:
                chosen = [members[number] for number in tests]
                rows.append({"claim": claim, "on": name, "split": "test", "spread": _spread([found[n] for n in tests])})
                for several, into in ((found, effects), (equal, equals)):
                    into.append(whole([several[number] for number in tests], [names(one) for one in chosen]))
        for one, effect, at_budget in zip(members, found, equal, strict=True):
            rows.append(_row(one))
            effects.append(effect)
            equals.append(at_budget)
    first = _primary([*(row["claim"] for row in rows), *(one.row["claim"] for one in joined)], primary)
    levels = verdicts.levels([one.p for one in (*effects, *joined)], first)
    for number, (row, effect, equal, level) in enumerate(zip(rows, effects, equals, levels, strict=False)):
        row |= verdicts.decide(effect, level) | {"metric": "macro_f1", "level": level, "p": effect.p}
        row |= {"agree": effect.agree(row["verdict"]), "repeats": max(1, len(effect.repeats))}
        row |= {"role": "primary" if number == first else "secondary"}
        at_budget = verdicts.decide(equal, level)
        row |= {f"equal_{name}": value for name, value in at_budget.items() if name != "verdict"}
        row["larger_search_only"] = row["verdict"] != "undecided" and at_budget["verdict"] != row["verdict"]
    for number, (one, level) in enumerate(zip(joined, levels[len(effects) :], strict=True), start=len(effects)):
        role = "primary" if number == first else "secondary"
        rows.append({"repeats": 1} | one.row | one.decide(level) | {"role": role})
    return pl.DataFrame(rows, schema=SCHEMA)


def _primary(names: list[str], claim: str | None) -> int | None:
    """Number of the row that is tested first; none where a study lacks the claim that is primary by default."""
    if claim in names:
        return names.index(claim)
    if claim in (None, PRIMARY):
        return None
    there = ", ".join(dict.fromkeys(names))
    raise TesseraError(f"config key claims.primary: {claim!r} is no claim of this study; there: {there}")


def _row(one: Contrast) -> dict:
    return {
        "claim": one.claim,
        "on": one.on,
        "split": one.split,
        "budget": one.budget or None,
        "left": one.left.cell,
        "right": one.right.cell,
        "left_cells": one.left.cells,
        "right_cells": one.right.cells,
        "left_draws": len(one.left.scored.value_DR),
        "right_draws": len(one.right.scored.value_DR),
        "examples": one.examples,
    }


def _spread(effects: list[Effect]) -> float:
    """Standard deviation of the effects between data sets, what test examples add taken away (Paule and Mandel)."""
    from statsmodels.stats.meta_analysis import combine_effects  # heavy, and only several data sets need it

    variances = np.array([max(effect.error**2, 1e-12) for effect in effects])
    found = combine_effects(np.array([effect.difference for effect in effects]), variances, method_re="iterated")
    return float(max(0.0, found.tau2) ** 0.5)


def _weakest_first(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(pl.col("verdict") != "fails", "difference_low", maintain_order=True)


def together(claim: str, found: pl.DataFrame, parts: list[str]) -> pl.DataFrame:
    """The claim that all of `parts` hold at once, per data set with all of them: the row of the weakest.

    It holds where each part does, so it needs no correction for their number (intersection-union test).
    """
    rows = found.filter(pl.col("claim").is_in(parts), ~pl.col("on").is_in([ALL, THESE])).filter(
        pl.len().over("on", "split") == len(parts)
    )
    weakest = _weakest_first(rows).unique(["on", "split"], keep="first", maintain_order=True)
    return weakest.with_columns(claim=pl.lit(claim)).sort("on", "split")


SAE_TITLE = KINDS["sae"].title
PRIMARY = f"{SAE_TITLE} > {KINDS['hidden'].title}"  # by default, as config.schema.yaml says
SAE, EVERY_LATENT = CONTESTANTS[SAE_TITLE], pl.col("selection") == "none"
BINARISED = SAE & (pl.col("threshold") != "none")
REAL = SAE & (pl.col("threshold") == "none")
SELECTED = pl.col("selection").str.extract(r"-(\d+)$").cast(pl.Int64)
Claim = tuple[str, pl.Expr, pl.Expr]  # name, cells of the left side, of the right
# The quiver of arrows of Kantamneni et al. (2025, arXiv 2502.16681): do SAE features add to all others? The left side
# holds the right one: where both choose one cell they differ by 0, and equal budgets are no fairer (docs/reading.md).
QUIVER: Claim = ("with SAE > without SAE", TRAINED, WITHOUT_SAE)


@dataclass
class Cells:
    """The cells of a study, as claims ask for them.

    scores, predictions: the tables. identified: data sets whose ids are the user's: one id in two of them is one
    example.
    """

    scores: pl.DataFrame
    predictions: pl.LazyFrame
    identified: list[str]

    def contrasts(self, claims: list[Claim], datasets: list[str]) -> list[Contrast]:
        """Every claim on every test split on which both sides have a cell, claim after claim."""
        found, ids = [], {}
        for data in datasets:
            cells = self.scores.filter(split="test", data=data)
            asked = [(name, *(ranked(cells.filter(side)) for side in sides)) for name, *sides in claims]
            asked = [claim for claim in asked if claim[1] and claim[2]]
            answers = self.predictions.filter(pl.col("data") == data).collect()
            for (split,), rows in answers.group_by("split", maintain_order=True):
                tests = TestSplit(rows)
                if split == "test":
                    ids[data] = set(tests.groups) if data in self.identified else set()
                sample = next((other for other in ids if ids[other] & ids[data]), data)
                names = [id if data in self.identified else f"{data}: {id}" for id in tests.groups]
                for name, left, right in asked:
                    tests.check(left, right)
                    budget = min(len(side[tests.repeats[0]]) for side in (left, right))
                    sides = [_side(tests, ranking, budget) for ranking in (left, right)]
                    found.append(Contrast(name, data, split, *sides, names, tests.examples, sample))
        order = [name for name, *_ in claims]
        return sorted(found, key=lambda one: order.index(one.claim))

    def within(self, datasets: list[str]) -> list[Contrast]:
        """Does the SAE beat every other contestant, does it add to them; is binarising as good as selecting latents?"""
        pairs = [(SAE_TITLE, name) for name in CONTESTANTS if name != SAE_TITLE]
        pairs += of_further_probes()
        pairs.append((KINDS["beside"].title, KINDS["hidden"].title))
        claims = [(f"{left} > {right}", CONTESTANTS[left], CONTESTANTS[right]) for left, right in pairs]
        claims.append(QUIVER)
        claims.append(("binarised > real-valued, all latents", BINARISED & EVERY_LATENT, REAL & EVERY_LATENT))
        claims.append(
            ("binarised, all latents > real-valued, selected", BINARISED & EVERY_LATENT, REAL & ~EVERY_LATENT)
        )
        for k in self.scores.select(SELECTED).to_series().drop_nulls().unique().sort():
            of_size = SELECTED.eq(k)
            claims.append((f"binarised > real-valued, {k} selected latents", BINARISED & of_size, REAL & of_size))
        return self.contrasts(claims, datasets)

    def behaviour(
        self, targets: dict[str, str | None], controls: dict[str, str]
    ) -> tuple[list[Contrast], dict[str, list[str]]]:
        """Does a model's SAE predict what another model did, better than each control does?

        Returns the contrasts, and claim → the claims that must hold together for it.
        """
        contrasts: list[Contrast] = []
        joint: dict[str, list[str]] = {}
        for data, target in targets.items():
            cast = roles(self.scores.filter(data=data), target, controls)
            for source in (one for one in cast if one.role == "source" and one.title == SAE_TITLE):
                for other in (one for one in cast if one.role == "target" or one.controls in (source.model, ANY)):
                    claim = f"{source.name} predicts behaviour > {other.name}"
                    made = self.contrasts([(claim, source.cells, other.cells)], [data])
                    contrasts += made
                    whole = joint.setdefault(f"{source.name} predicts behaviour > all controls", [])
                    if made and other.role == "control" and claim not in whole:
                        whole.append(claim)
        return contrasts, joint


def _side(tests: TestSplit, ranking: dict[int, list[tuple]], budget: int) -> Side:
    whole = tests.scored(ranking)
    cells = len(ranking[tests.repeats[0]])
    equal = whole if budget == cells else tests.scored(ranking, budget)
    return Side(whole, equal, _spell([ranking[repeat][0] for repeat in tests.repeats], CELL), cells)


def _spell(chosen: list[tuple], names: list[str]) -> str:
    """The cell that most repeats choose, and how many where not all do."""
    cell = max(chosen, key=chosen.count)
    place = [f"{key}={value}" for key, value in zip(names, cell, strict=True) if key in SPELT and value is not None]
    kind = cell[names.index("features")]
    often = chosen.count(cell)
    return " ".join([kind, *place, *([f"({often} of {len(chosen)} repeats)"] if often < len(chosen) else [])])


SPELT = [key for key in CELL if key not in ("features", "data")]
# What names one transferred probe among the best ones.
TRANSFER = ["scenario", "source", "target", "condition", "fraction"]
CONTESTED = ["features", "control", "frozen", "condition", "source"]  # of a scenario and target


def between(best: pl.DataFrame, predictions: pl.LazyFrame) -> list[Contrast]:
    """Of transfer: is a zero-shot SAE probe above chance, above other features, above a probe of the target's own data?

    `best` is the table transfer_best, whose cells are chosen on the sources; `predictions` are those of all transfers.
    """
    cell = [key for key in CELL if key in best.columns]
    chosen = best.filter(fraction=1.0).select(*TRANSFER, "repeat", *cell, "control", "frozen")
    answers = predictions.join(chosen.lazy(), on=[*TRANSFER, "repeat", *cell], nulls_equal=True).collect()
    found = []
    for (scenario, target), rows in answers.sort("example").group_by("scenario", "target", maintain_order=True):
        tests = TestSplit(rows.with_columns(draw=pl.lit(0)), CONTESTED)
        spelt = {
            side: _spell(fits.select(cell).rows(), cell)
            for side, fits in chosen.filter(scenario=scenario, target=target).group_by(CONTESTED, maintain_order=True)
        }
        for source in rows["source"].unique(maintain_order=True):
            zero_shot = ("sae", False, None, "source", source)
            on, left = f"{scenario}: {source} → {target}", spelt.get(zero_shot)
            if left is None:
                continue
            others = {
                f"zero-shot {kind.title}": (kind.name, False, None, "source", source)
                for kind in KINDS.values()
                if kind.transfers and kind.name != "sae"
            }
            others |= {
                f"zero-shot {named.format(SAE_TITLE)}": ("sae", False, frozen, "source", source)
                for frozen, named in FROZEN.items()
            }
            others |= {
                "zero-shot random SAE": ("sae", True, None, "source", source),
                "native SAE": ("sae", False, None, "native", target),
            }
            same = {repeat: [zero_shot] for repeat in tests.repeats}
            whole = tests.scored(same)
            sides = {"chance": Side(chance := tests.chance(same), chance, "chance", 0)}
            for name, side in others.items():
                if side in spelt:
                    scored = tests.scored({repeat: [side] for repeat in tests.repeats})
                    sides[name] = Side(scored, scored, spelt[side], 0)
            for name, right in sides.items():
                claim = f"zero-shot SAE > {name}"
                made = Side(whole, whole, left, 0)
                found.append(Contrast(claim, on, "test", made, right, tests.groups, tests.examples))
    return sorted(found, key=lambda one: (one.on, one.claim))


NAMED = {"one_to_one": "matched latents", "identity": "the same SAE"}
TRANSFER_NEEDS = ("random match", "random directions", "random SAEs")  # latents transfer only where they beat all three


@dataclass
class Joined:
    """A claim that all of several differences hold at once.

    effect: the one that decides. tests: for how many its level is corrected; 0 where nothing can be decided.
    """

    row: dict
    effect: Effect
    tests: int

    @property
    def p(self) -> float:
        return min(1.0, self.tests * self.effect.p) if self.tests else 1.0

    def decide(self, level: float) -> dict:
        level = 1 - (1 - level) / max(1, self.tests)
        found = verdicts.decide(self.effect, level) | {"level": level, "p": self.p}
        return found if self.tests else found | {"verdict": "undecided"}


def of_matches(found: pl.DataFrame) -> list[Joined]:
    """The table match_claims as claims: do latents of one SAE stand for those of another, better than a ridge map?

    A match is better than a control where it is so in macro F1 AND in ROC AUC, which no shift of decisions moves, and
    worse where it is so in both. `latents transfer` holds where it is better than each control that it needs, and
    fails where it is worse than one of them.
    """
    place = ["match", "data", "source", "target", "pairing"]
    claims = []
    for key, rows in found.group_by(place, maintain_order=True):
        names = dict(zip(place, key, strict=True))
        cell = " ".join(f"{axis}={rows[axis][0]}" for axis in ("pooling", "threshold", "selection"))
        title = NAMED[names["pairing"]]
        for claim, controls in (
            (f"latents transfer: {title}", TRANSFER_NEEDS),
            (f"{title} > ridge map", ("ridge map",)),
        ):
            needed = rows.filter(pl.col("against").is_in(controls))
            if needed["against"].n_unique() < len(controls):
                continue
            one, tests = _deciding(needed)
            row = {"claim": claim, "on": "{match}: {data}, {source} → {target}".format(**names), "split": "test"}
            row |= {"left": f"{names['source']} {cell}", "right": f"{names['target']}, {one['against']}"}
            row |= {"metric": one["metric"], "examples": one["examples"], "right_draws": one["draws"]}
            claims.append(Joined(row, Effect(one["difference"], [Part(one["error"] ** 2, one["freedom"])]), tests))
    return claims


def of_evidence(found: pl.DataFrame, left: str = "these latents") -> list[Joined]:
    """The table evidence_claims, or intervention_claims, as claims.

    Each holds where latents (or an intervention) do better than all that they are held against.

    k latents suffice where a probe on them alone lacks less than `MARGIN` of all, and tells more than one on random
    latents; they are necessary in the model where taking them out costs what later layers compute more than taking out
    random ones; latents speak for their class abroad where they fire on its texts more often than on others; a
    direction steers more than chance where it does more than random ones, and than its own controls.
    """
    claims = []
    for (claim, on), rows in found.group_by("claim", "on", maintain_order=True):
        one, tests = _deciding(rows)
        row = {"claim": claim, "on": on, "split": "test", "left": left, "right": one["against"]}
        row |= {"metric": one["metric"], "examples": one["examples"], "right_draws": one["draws"]}
        row |= {"repeats": one["repeats"]}
        effect = Effect(one["difference"], [Part(one["error"] ** 2, one["freedom"])], most=most(one["metric"]))
        claims.append(Joined(row, effect, tests))
    return claims


def _deciding(needed: pl.DataFrame) -> tuple[dict, int]:
    """Of rows to hold at once the one that decides whether all do, or a control is better; of how many tests."""
    doubtful = needed.sort("p", descending=True, maintain_order=True).unique(
        "against", keep="first", maintain_order=True
    )
    if needed["difference"].min() > 0:
        return doubtful.row(0, named=True), 1  # all are to hold: no correction for their number (intersection-union)
    better = needed.group_by("against").agg(pl.col("difference").max() < 0).filter("difference")["against"]
    lost = doubtful.filter(pl.col("against").is_in(better.implode()))
    if len(lost):
        return lost.row(-1, named=True), len(doubtful)
    return doubtful.row(0, named=True), 0
