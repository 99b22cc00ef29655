"""From what a steered model left to values: the change of every measure on every prompt, draw and α of a direction."""

from collections.abc import Callable

import numpy as np
import polars as pl

from tessera.features.spaces import Features, Space, Standardised
from tessera.features.tfidf import Ngrams
from tessera.probes.fit import Folds, fit_probe
from tessera.probes.fitted import Probe
from tessera.probes.task import Task
from tessera.steering.effects import VALUES
from tessera.steering.measures import ANSWERS, KL, PERPLEXITY, REPETITION, SELECTIVITY, SIDE_EFFECTS, STATES

GRAM = 3  # tokens: of what is written, how much repeats
PLACE = ("variant", "draw", "controls", "alpha")


def of_answers(answers: pl.DataFrame, groups: pl.DataFrame, choice: str) -> pl.DataFrame:
    """Log-probability of a choice over the mean of the others, per token, in nats; and side effects.

    Side effects, where the right choice is known: of the prompts whose answer changed, was it right and is it no longer
    (1) or not (0)? Their mean is CorrSteer's side-effect ratio (arXiv 2508.12535).

    Args:
        answers: variant, id, log_probability and names (lists), right (number), of every variant, 0 the plain one.
        groups: id and group.
    """
    found = log_odds(answers, groups, choice)
    plain = found.filter(variant=0).select("item", plain="odds", first="said")
    both = found.filter(pl.col("variant") > 0).join(plain, on="item")
    changed = pl.when(pl.col("said") != pl.col("first"), pl.col("right").is_not_null())
    odds = both.select("variant", "item", "group", measure=pl.lit(ANSWERS), value=pl.col("odds") - pl.col("plain"))
    worse = both.select(
        "variant",
        "item",
        "group",
        measure=pl.lit(SIDE_EFFECTS),
        value=changed.then((pl.col("first") == pl.col("right")).cast(pl.Float64)),
    )
    return pl.concat([odds, worse.filter(pl.col("value").is_not_null())])


def log_odds(answers: pl.DataFrame, groups: pl.DataFrame, choice: str) -> pl.DataFrame:
    """variant, item, odds (log-probability of a choice less the mean of the others), said, right, group, per prompt."""
    at = pl.col("names").list.eval(pl.element() == choice).list.arg_max()
    told = pl.col("log_probability")
    others = (told.list.sum() - told.list.get(at)) / (told.list.len() - 1)
    found = answers.select(
        "variant", item="id", odds=told.list.get(at) - others, said=told.list.arg_max().cast(pl.Int64), right="right"
    )
    return found.join(groups.select(item="id", group=pl.col("group").cast(pl.String)), on="item", how="left")


def of_harm(harm: pl.DataFrame) -> pl.DataFrame:
    """Change of the log-perplexity of each neutral text, and KL(plain ‖ steered), per token, in nats."""
    item = pl.col("text").cast(pl.String)
    measures = {
        PERPLEXITY: (pl.col("surprise") - pl.col("plain_surprise")) / pl.col("told"),
        KL: pl.col("kl") / pl.col("tokens"),
    }
    rows = harm.filter(pl.col("variant") > 0, pl.col("told") > 0)
    return pl.concat(
        [
            rows.select("variant", item=item, group=item, measure=pl.lit(name), value=value)
            for name, value in measures.items()
        ]
    )


def repeated(ids: list[int]) -> float:
    """Share of the n-grams of GRAM tokens that were there before (Welleck et al. 2019, arXiv 1908.04319)."""
    grams = [*zip(*(ids[start:] for start in range(GRAM)), strict=False)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class Reader:
    """A probe of one data set that had no part in steering, and what it says of texts that were written.

    Its C is chosen by folds inside the training split of the data set.
    """

    def __init__(self, task: Task, features: Features, fit_space: Callable[[Features], Space] = Standardised):
        """features: of the task's examples."""
        train, label_E = features[task.train_E], task.label_E[task.train_E]
        self.space: Space = fit_space(train)
        folds = Folds(train, label_E, task.fold_E, fit_space)
        self.probe: Probe = fit_probe(self.space.apply(train), label_E, folds, task.classes, task.penalties)

    def tells(self, features: Features) -> np.ndarray:
        """Probabilities [N, C] of the classes."""
        return self.probe.probabilities(self.space.apply(features))


def words(train: np.ndarray) -> Ngrams:
    """The space of TF-IDF, of words."""
    return Ngrams(train, "word")


def of_written(
    written: pl.DataFrame, prompts: pl.DataFrame, told: dict[tuple[str, str | None], np.ndarray], number: int
) -> pl.DataFrame:
    """Change of what probes say of what is written, the mean over samples; and of how much repeats.

    Args:
        written: prompt (row of `prompts`), variant, sample, ids.
        prompts: id and group.
        told: (measure, data set of other labels) → probabilities [N, C], or scores [N, 1], of what is written; nan
            where there is nothing to tell by.
        number: of the class that is steered toward. Of other labels the value is the total variation between the
            probabilities with steering and without.
    """
    rows = written.select("variant", "sample", item=prompts["id"].gather(written["prompt"]).cast(pl.String))
    rows = rows.with_columns(group=prompts["group"].gather(written["prompt"]).cast(pl.String))
    parts = []
    for (measure, of), score_NS in told.items():
        one = score_NS.shape[1] == 1 or measure == SELECTIVITY
        parts.append(_changes(rows, score_NS if one else score_NS[:, [number]], measure, of))
    repeats_NS = np.array([[repeated(ids)] for ids in written["ids"]])
    return pl.concat([*parts, _changes(rows, repeats_NS, REPETITION, None)])


def _changes(rows: pl.DataFrame, score_NS: np.ndarray, measure: str, of: str | None) -> pl.DataFrame:
    """Mean over samples of the change of a score against variant 0; of several scores half the sum of their sizes."""
    scored = rows.with_columns(score=pl.Series(score_NS.tolist(), dtype=pl.List(pl.Float64)))
    plain = scored.filter(variant=0).select("item", "sample", plain="score")
    both = scored.filter(pl.col("variant") > 0).join(plain, on=["item", "sample"], maintain_order="left")
    change_NS = np.array(both["score"].to_list()) - np.array(both["plain"].to_list())
    change_N = change_NS[:, 0] if change_NS.shape[1] == 1 else np.abs(change_NS).sum(axis=1) / 2
    return (
        both.with_columns(value=pl.Series(change_N).fill_nan(None))
        .group_by("variant", "item", "group", maintain_order=True)
        .agg(pl.col("value").mean())
        .select(
            "variant", "item", "group", pl.lit(measure).alias("measure"), pl.lit(of, pl.String).alias("of"), "value"
        )
    )


def of_states(told: dict[int, np.ndarray], examples: pl.DataFrame, number: int) -> pl.DataFrame:
    """Change of the probability of a class that a probe of a later layer tells in the states of each example.

    told: variant → probabilities [E, C].
    """
    item = examples["example"].cast(pl.String)
    group = examples["group"].cast(pl.String)
    return pl.concat(
        [
            pl.DataFrame({"item": item, "group": group, "value": after_EC[:, number] - told[0][:, number]}).select(
                pl.lit(variant, pl.Int64).alias("variant"), "item", "group", measure=pl.lit(STATES), value="value"
            )
            for variant, after_EC in told.items()
            if variant > 0
        ]
    )


def valued(variants: pl.DataFrame, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """All changes of a direction, with the draw and the α of their variants, in the columns of VALUES."""
    found = pl.concat(parts, how="diagonal").join(variants.select(PLACE), on="variant", maintain_order="left")
    if "of" not in found.columns:
        found = found.with_columns(of=pl.lit(None, pl.String))
    return found.select(VALUES.keys()).cast(VALUES)
