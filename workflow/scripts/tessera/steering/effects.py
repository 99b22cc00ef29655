"""What steering did, beside what it did not mean to: effects and harms over α, the best α, and what claims rest on.

Everything is a change against the same model without steering, on the same prompt or neutral text. These come in two
halves, groups of equal texts and near-duplicates together: on one, `validation`, each direction's α is chosen (the
largest effect among those of little harm), on the other, `report`, it is reported. What a direction's controls do
differs by luck; a direction that labels gave had that luck too, once. So a comparison counts, beside the prompts, the
spread of the controls of either side: of a direction whole, of the mean of n random ones by n. Controls choose their α
as directions do.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tessera.evidence.sufficiency import DIFFERENCE, difference
from tessera.examples.splits import hashes
from tessera.probes.influence import summed
from tessera.probes.metrics import LEVEL
from tessera.probes.verdicts import Effect, Part, of_draws, of_tests
from tessera.steering.directions import OF_LABELS
from tessera.steering.measures import EFFECTS, HALVES, KL, MEANS, PERPLEXITY, RANDOM, REPORT, VALIDATION, most, title

VALUES = {
    "measure": pl.String,
    "of": pl.String,
    "draw": pl.Int64,
    "controls": pl.Boolean,
    "alpha": pl.Float64,
    "item": pl.String,
    "group": pl.String,
    "value": pl.Float64,
}  # of one direction: the change of one measure on one prompt or text, where there is one
RESPONSES = {
    "direction": pl.String,
    "controls": pl.Boolean,
    "measure": pl.String,
    "of": pl.String,
    "half": pl.String,
    "alpha": pl.Float64,
    "best": pl.Boolean,
    "change": pl.Float64,
    "change_low": pl.Float64,
    "change_high": pl.Float64,
    "draws": pl.Int64,
    "prompts": pl.Int64,
}
CLAIMS = {"claim": pl.String, "effect": pl.String, "metric": pl.String} | DIFFERENCE


def halved(groups: pl.Series, seed: int) -> pl.Series:
    """The half of each prompt: groups in the order of their hashes, every other one for validation."""
    names = groups.unique().sort()
    order = names.gather(hashes(names, seed, "halves").arg_sort())
    half = [HALVES[number % 2] for number in range(len(order))]
    return groups.replace_strict(order, half, return_dtype=pl.String)


def _control(direction: str) -> str:
    """What a direction's controls are."""
    return "shuffled labels" if direction in OF_LABELS else "other latents"


@dataclass
class Response:
    """What one direction, or its controls, did to one measure.

    value_DAI: change, of every draw, α and prompt. item_I, group_I, half_I: names of the prompts, ascending, of their
    groups and halves.
    """

    value_DAI: np.ndarray
    item_I: np.ndarray
    group_I: np.ndarray
    half_I: np.ndarray

    def at(self, rows_I: np.ndarray) -> "Response":
        return Response(self.value_DAI[:, :, rows_I], self.item_I[rows_I], self.group_I[rows_I], self.half_I[rows_I])

    def on(self, half: str) -> "Response":
        return self.at(self.half_I == half)

    def chosen(self, numbers_D: np.ndarray) -> np.ndarray:
        """Change [D, I] of each draw at an α of its own, given by number."""
        return self.value_DAI[np.arange(len(self.value_DAI)), numbers_D]

    def influence_G(self, value_DI: np.ndarray) -> np.ndarray:
        """Influence of each group on the mean over draws and prompts."""
        value_I = value_DI.mean(axis=0)
        names, group_I = np.unique(self.group_I, return_inverse=True)
        return summed((value_I - value_I.mean()) / len(value_I), group_I, len(names))


def response(values: pl.DataFrame, seed: int) -> Response:
    """Of the rows of one measure, of a direction or of its controls: those prompts that have a value in all of them.

    The others count in the halves, which are the same of every direction.
    """
    alphas, draws = values["alpha"].n_unique(), values["draw"].n_unique()
    found = values.with_columns(half=halved(values["group"], seed)).filter(pl.col("value").is_not_null())
    whole = found.group_by("item", "group", "half").len().filter(len=alphas * draws).sort("item")
    rows = found.join(whole, on="item", how="semi").sort("draw", "alpha", "item")
    value_DAI = rows["value"].to_numpy().reshape(draws, alphas, len(whole))
    return Response(value_DAI, *(whole[name].to_numpy() for name in ("item", "group", "half")))


@dataclass
class Scenario:
    """Every measure of a scenario: (direction, controls?, measure, of) → its response; the steps of α, ascending.

    perplexity: the largest ratio of perplexities of neutral text that the best α may have. tells: how well each
    direction tells its class on held-out texts (`directions.tells`).
    """

    found: dict[tuple[str, bool, str, str | None], Response]
    alphas: list[float]
    perplexity: float
    tells: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def of(cls, values: dict[str, pl.DataFrame], perplexity: float, seed: int) -> "Scenario":
        """From the values of each direction (VALUES)."""
        found = {}
        for direction, every in values.items():
            for (control, measure, of), rows in every.group_by("controls", "measure", "of", maintain_order=True):
                one = response(rows, seed)
                if one.value_DAI.size:
                    found[direction, control, measure, of] = one
        alphas = sorted({alpha for every in values.values() for alpha in every["alpha"]})
        return cls(found, alphas, perplexity)

    def get(self, direction: str, control: bool, measure: str, half: str = REPORT) -> Response | None:
        one = self.found.get((direction, control, measure, None))
        one = one and one.on(half)
        return one if one and one.value_DAI.size else None

    def best_D(self, direction: str, controls: bool, measure: str) -> np.ndarray | None:
        """Number of each draw's best α: of its largest effect in the validation half, among those of little harm there.

        Controls choose as their direction does, or it would be favoured. Where every α does more harm, the smallest.
        """
        effect, harm = (self.get(direction, controls, one, VALIDATION) for one in (measure, PERPLEXITY))
        return None if effect is None else self._best(effect.value_DAI, None if harm is None else harm.value_DAI)

    def best(self, direction: str, measure: str) -> int | None:
        """Number of the α that a direction is reported at; of random ones that of their mean."""
        found = [self.get(direction, direction == RANDOM, one, VALIDATION) for one in (measure, PERPLEXITY)]
        if found[0] is None:
            return None
        return int(self._best(*(one and one.value_DAI.mean(axis=0, keepdims=True) for one in found))[0])

    def _best(self, effect_DAI: np.ndarray, harm_DAI: np.ndarray | None) -> np.ndarray:
        mean_DA = effect_DAI.mean(axis=2)
        if harm_DAI is not None:
            mean_DA = np.where(harm_DAI.mean(axis=2) <= np.log(self.perplexity), mean_DA, -np.inf)
        smallest = min(range(len(self.alphas)), key=lambda number: (abs(self.alphas[number]), -self.alphas[number]))
        return np.where(np.isfinite(mean_DA).any(axis=1), mean_DA.argmax(axis=1), smallest)

    @property
    def directions(self) -> list[str]:
        return list(dict.fromkeys(direction for direction, *_ in self.found))

    @property
    def effects(self) -> list[str]:
        return [one for one in EFFECTS if any(measure == one for _, _, measure, _ in self.found)]


def responses(scenario: Scenario) -> pl.DataFrame:
    """A row per direction (and its controls together), measure, half and α: the mean change, its interval."""
    rows = []
    for (direction, control, measure, of), whole in scenario.found.items():
        effect = measure if measure in EFFECTS else (scenario.effects or [None])[0]
        best = scenario.best(direction, effect) if effect else None
        for half in HALVES:
            one = whole.on(half)
            for number, alpha in enumerate(scenario.alphas if one.value_DAI.size else ()):
                value_DI = one.value_DAI[:, number]
                parts = [of_tests(one.influence_G(value_DI)), of_draws(value_DI.mean(axis=1))]
                mean = Effect(float(value_DI.mean()), parts, most=most(measure))
                about = (direction, control, measure, of, half, alpha, number == best)
                rows.append((*about, mean.difference, *mean.interval(LEVEL), *one.value_DAI.shape[::2]))
    return pl.DataFrame(rows, schema=RESPONSES, orient="row")


def claims(scenario: Scenario) -> pl.DataFrame:
    """What the claims of a scenario rest on: each direction against what it must beat, on the half for reports.

    It steers more than chance where it tells its class on held-out texts, and does more than random directions of equal
    norm AND than its own controls; more than the difference of means, and with less harm. Each side is at its best α.
    """
    rows = []
    for effect in scenario.effects:
        for direction in (one for one in scenario.directions if one != RANDOM):
            ours, name = (direction, False), title(direction)
            above = [
                _above(scenario, effect, effect, title(RANDOM), ours, (RANDOM, True)),
                _above(scenario, effect, effect, _control(direction), ours, (direction, True)),
            ]
            if None not in above:  # all or nothing: the claim speaks of all
                told = [scenario.tells[direction] | {"metric": "roc_auc"}] if scenario.tells else []
                about = {"claim": f"steering by {name} > chance", "effect": effect, "metric": effect}
                rows += [about | row for row in (*told, *above)]
            asked = []
            if direction != MEANS:
                means = (MEANS, False)
                asked.append((f"steering by {name} > by {title(MEANS)}", effect, title(MEANS), ours, means))
                if effect == scenario.effects[0]:
                    asked.append((f"harm by {title(MEANS)} > by {name}", KL, title(MEANS), means, ours))
            for claim, metric, against, *sides in asked:
                row = _above(scenario, effect, metric, against, *sides)
                if row:
                    rows.append({"claim": claim, "effect": effect, "metric": metric} | row)
    return pl.DataFrame(rows, schema=CLAIMS)


def _above(scenario: Scenario, effect: str, measure: str, name: str, *sides: tuple[str, bool]) -> dict | None:
    """What a claim rests on: left − right in a measure, each a direction or its controls, at α chosen by the effect."""
    left, right = (scenario.get(*side, measure) for side in sides)
    at, other = (scenario.best_D(*side, effect) for side in sides)
    if any(one is None for one in (left, right, at, other)):
        return None
    _, *places = np.intersect1d(left.item_I, right.item_I, return_indices=True)
    left, right = (one.at(rows) for one, rows in zip((left, right), places, strict=True))
    if len(np.unique(left.group_I)) < 2:  # whose chance cannot be seen
        return None
    ours_DI, theirs_DI = left.chosen(at), right.chosen(other)
    (direction, _), (against, controls) = sides
    own = _luck(scenario, direction, effect, measure)
    theirs = of_draws(theirs_DI.mean(axis=1)) if controls else _luck(scenario, against, effect, measure)
    if own is None or theirs is None:
        return None
    if controls and against == direction:  # one estimate of both
        own, theirs = Part(own.variance + theirs.variance, own.freedom), Part(0.0, 1.0)
    parts = [of_tests(left.influence_G(ours_DI) - left.influence_G(theirs_DI)), own, theirs]
    found = Effect(float(ours_DI.mean() - theirs_DI.mean()), parts, most=most(measure))
    return difference(name, found, (len(theirs_DI), 1), len(left.item_I))


def _luck(scenario: Scenario, direction: str, effect: str, measure: str) -> Part | None:
    """How far one direction may be off by luck: the variance between its controls, each at its own best α."""
    controls, at = scenario.get(direction, True, measure), scenario.best_D(direction, True, effect)
    if controls is None or at is None:
        return None
    value_DI = controls.chosen(at)
    return Part(float(value_DI.mean(axis=1).var(ddof=1)), len(value_DI) - 1)
