"""What a model still knows with a label erased: fresh probes of its states, here and behind, of this label and others.

A fresh probe is fitted on states of the erased model, its C chosen by folds inside their training split, and scored on
those of the test split. It is held against the same probe of the plain model on the same texts.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from tessera.evidence.necessity import DROP, METRICS, drop, fit_states, score_of
from tessera.evidence.sufficiency import Scores, difference
from tessera.probes.influence import summed
from tessera.probes.metrics import LEVEL
from tessera.probes.task import Task
from tessera.probes.verdicts import Effect, Scored, contrast, of_draws, of_tests, unseen
from tessera.steering.effects import CLAIMS
from tessera.steering.measures import CHANCE, DECIDED, ERASERS, KL, PERPLEXITY, RANDOM, most
from tessera.steering.measuring import log_odds

MARGIN = 0.1  # of ROC AUC, that a probe may lie above chance, and the label is erased
TURNED = "turned"
SCHEMA = {
    "eraser": pl.String,
    "measure": pl.String,
    "data": pl.String,
    "at_layer": pl.Int64,
    **DROP,
}
States = Callable[[str, int], list[np.ndarray]]  # data set, layer → states [E, d] of each draw


def fresh(
    tasks: dict[str, Task], layers: list[int], plain: States, erased: States
) -> tuple[list[dict], dict[tuple[str, int, str], tuple[Scored, Scored]]]:
    """Rows of fresh probes, before and after; and (data set, layer, metric) → both scores.

    tasks: the data set whose label is erased, first, and those of other labels.
    """
    rows, scored = [], {}
    for data, task in tasks.items():
        scores, examples = Scores([task]), int((task.split_E == "test").sum())
        for layer in layers:
            before_D, after_D = ([_tells(task, one) for one in states(data, layer)] for states in (plain, erased))
            for metric in METRICS:
                score = partial(score_of, None, metric)
                sides = [scores.scored([[told] for told in side], score) for side in (before_D, after_D)]
                scored[data, layer, metric] = tuple(sides)
                found = drop(*sides, examples) | {"draws": len(after_D)}
                rows.append({"measure": metric, "data": data, "at_layer": layer} | found)
    return rows, scored


def _tells(task: Task, states_ED: np.ndarray) -> np.ndarray:
    """Class probabilities of the test split, by a probe fitted on the training split of these states."""
    probe, space = fit_states(task, states_ED)
    return probe.probabilities(space.apply(states_ED[task.split_E == "test"]))


def of_answers(plain: pl.DataFrame, erased: pl.DataFrame, groups: pl.DataFrame, choice: str) -> list[dict]:
    """What answers do, of every draw together: the log-odds of a choice, how decided they are, how many turn.

    decided: the size of the log-odds, in nats.
    """
    both = log_odds(erased, groups, choice).join(log_odds(plain, groups, choice), on="item", suffix="_plain")
    pairs = {
        "answers": (pl.col("odds_plain"), pl.col("odds")),
        DECIDED: (pl.col("odds_plain").abs(), pl.col("odds").abs()),
        TURNED: (pl.lit(0.0), (pl.col("said") != pl.col("said_plain")).cast(pl.Float64)),
    }
    return [
        _row(name, both.with_columns(before=before, after=after), len(erased["variant"].unique()))
        for name, (before, after) in pairs.items()
    ]


def of_harm(harm: pl.DataFrame) -> list[dict]:
    """What happens to neutral texts: log-perplexity and KL(plain ‖ erased), per token, in nats."""
    told, draws = pl.col("told").clip(lower_bound=1), harm["variant"].n_unique()
    rows = harm.with_columns(item=pl.col("text").cast(pl.String), group=pl.col("text").cast(pl.String))
    pairs = {
        PERPLEXITY: (pl.col("plain_surprise") / told, pl.col("surprise") / told),
        KL: (pl.lit(0.0), pl.col("kl") / pl.col("tokens")),
    }
    return [_row(name, rows.with_columns(before=before, after=after), draws) for name, (before, after) in pairs.items()]


def _row(measure: str, rows: pl.DataFrame, draws: int) -> dict:
    """Means over prompts and draws of `before` and `after`; the interval counts both."""
    lost = rows.with_columns(lost=pl.col("before") - pl.col("after"))
    of_item = lost.group_by("item", maintain_order=True).agg(pl.col("lost").mean(), pl.col("group").first())
    lost_D = lost.group_by("variant", maintain_order=True).agg(pl.col("lost").mean())["lost"].to_numpy()
    names, group_I = np.unique(of_item["group"].to_numpy(), return_inverse=True)
    value_I = of_item["lost"].to_numpy()
    influence_G = summed((value_I - value_I.mean()) / len(value_I), group_I, len(names))
    effect = Effect(float(value_I.mean()), [of_tests(influence_G), of_draws(lost_D)], most=most(measure))
    low, high = effect.interval(LEVEL)
    ends = {"drop": effect.difference, "drop_low": low, "drop_high": high, "draws": draws, "examples": len(value_I)}
    return {"measure": measure, "before": rows["before"].mean(), "after": rows["after"].mean()} | ends


def claims(
    eraser: str, data: str, layers: list[int], scored: dict, random: dict | None, examples: int, rarest: int
) -> pl.DataFrame:
    """What claims of erasure rest on: at its layer and at the last, is the label at chance; is it more than random?

    Of random subspaces themselves nothing is claimed.

    scored, random: as `fresh` leaves them, of the eraser and of random subspaces. rarest: test texts of that class.
    """
    rows = []
    ends = {} if eraser == RANDOM else dict(zip((layers[0], layers[-1]), ("its layer", "the last layer"), strict=True))
    for layer, name in ends.items():
        after = scored[data, layer, "roc_auc"][1]
        above = contrast(after, _constant(after))
        beyond = Effect(CHANCE + MARGIN - above.difference, [*above.parts, unseen(above.error**2, 2 * rarest)])
        rows.append((f"erased to chance by {ERASERS[eraser]}, at {name}", f"chance + {MARGIN}", beyond))
        if random is not None:
            more = contrast(random[data, layer, "roc_auc"][1], after)
            more.parts.append(unseen(more.error**2, 2 * rarest))
            rows.append((f"erased by {ERASERS[eraser]} more than by random, at {name}", "random subspaces", more))
    drawn = scored[data, layers[0], "roc_auc"][1].value_DR.shape
    return pl.DataFrame(
        [
            {"claim": claim, "metric": "roc_auc"} | difference(against, one, drawn, examples)
            for claim, against, one in rows
        ],
        schema=CLAIMS,
    )


def _constant(like: Scored) -> Scored:
    return Scored(np.zeros_like(like.value_DR), np.zeros_like(like.influence_RG), like.drawn)
