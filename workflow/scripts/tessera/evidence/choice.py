"""Which latents are shown, and which are taken out of the model: chosen on training texts, judged on others."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.evidence.decision import Decision
from tessera.evidence.latents import contributions, firing, seen
from tessera.evidence.ranking import matched
from tessera.probes.task import Task

NOTHING, ALL, PROBE, CLASS, RANDOM, DIFFERENCE = "nothing", "all", "probe", "class", "random", "difference"
SETS = {
    "set": pl.String,
    "kind": pl.String,
    "class": pl.String,
    "draw": pl.Int64,
    "latents": pl.List(pl.Int64),
    "directions": pl.List(pl.List(pl.Float32)),
}


def choose_shown(
    task: Task, decision: Decision, features: Path, width: int, *, latents: int, ids: list[int]
) -> pl.DataFrame:
    """The latents to show: per class the `latents` that add most to telling it, and those asked for by id.

    Columns: class, nth (rank among the former; null of the latter, which are there for each class), latent.
    """
    for_CW = _for_class(task, decision, features, width)[0]
    shown = [
        {"class": name, "nth": place + 1, "latent": int(latent)}
        for name, for_W in zip(task.classes, for_CW, strict=True)
        for place, latent in enumerate(largest(for_W, latents))
    ]
    shown += [{"class": name, "nth": None, "latent": latent} for latent in ids for name in task.classes]
    return pl.DataFrame(shown, schema={"class": pl.String, "nth": pl.Int64, "latent": pl.Int64})


def choose_sets(
    task: Task,
    decision: Decision,
    shards: list[Path],
    features: Path,
    hidden_ED: np.ndarray,
    norm_W: np.ndarray,
    *,
    k: int,
    draws: int,
) -> pl.DataFrame:
    """The sets to take out of the model, a row each.

    `nothing`; `probe`, the k that add most to telling the classes; per class those that speak for it; `draws` random
    ones that fire as often as those of `probe`, and write as strongly (activation × norm of what a unit writes);
    `difference`, what the means of classes differ by, as directions; `all`.

    Args:
        hidden_ED: mean hidden states where the SAE reads them. norm_W: norms of what a unit of each latent writes.
    """
    width, train_E = len(norm_W), task.train_E
    for_CW, all_W = _for_class(task, decision, features, width)
    fired = firing(shards, task.label_E, train_E, len(task.classes), width)
    tokens_W = fired.tokens_WC.sum(axis=1)
    alive_W = np.flatnonzero(tokens_W)
    top = largest(all_W, min(k, len(alive_W) // 2))  # so that as many others are left
    sets = [_set(NOTHING), _set(PROBE, latents=top)]
    sets += [_set(CLASS, name, latents=largest(for_W, k)) for name, for_W in zip(task.classes, for_CW, strict=True)]
    strength_W = fired.sum_WC.sum(axis=1)[alive_W] / tokens_W[alive_W] * norm_W[alive_W]
    traits_WT = np.log(np.maximum(np.stack([tokens_W[alive_W], strength_W], axis=1), 1e-12))
    for draw in range(draws):
        generator = np.random.default_rng([task.seed, draw])
        alike = matched(np.flatnonzero(np.isin(alive_W, top)), traits_WT, generator)
        sets.append(_set(RANDOM, draw=draw, latents=alive_W[alike]))
    sets.append(_set(DIFFERENCE, directions=differences(task, hidden_ED)))
    sets.append(_set(ALL))
    return pl.DataFrame(sets, schema=SETS)


def _for_class(task: Task, decision: Decision, features: Path, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What each latent adds to telling each class [C, W], 0 of those that speak against it; and to telling all [W]."""
    added = contributions(decision, seen(features, decision, task.label_E, task.train_E, width), width)
    return np.where(added.weights_CW > 0, added.gap_CW, 0), np.abs(added.gap_CW).sum(axis=0)


def largest(score_W: np.ndarray, number: int) -> np.ndarray:
    """The latents of the largest positive scores, largest first; of equals the lower one."""
    order = np.argsort(-score_W, kind="stable")[:number]
    return order[score_W[order] > 0]


def _set(
    kind: str,
    name: str | None = None,
    *,
    draw: int = 0,
    latents: np.ndarray | None = None,
    directions: np.ndarray | None = None,
) -> dict:
    return {
        "set": ".".join([kind, *([name] if name is not None else []), *([f"draw{draw}"] if kind == RANDOM else [])]),
        "kind": kind,
        "class": name,
        "draw": draw,
        "latents": None if latents is None else np.sort(latents).tolist(),
        "directions": None if directions is None else directions.astype(np.float32).tolist(),
    }


def differences(task: Task, hidden_ED: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span the differences between the class means of training texts."""
    label_E = task.label_E[task.train_E]
    mean_CD = np.stack([hidden_ED[task.train_E][label_E == number].mean(axis=0) for number in np.unique(label_E)])
    return span(mean_CD[1:] - mean_CD[0])


def span(rows_ND: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span the given ones."""
    _, size_N, basis_ND = np.linalg.svd(rows_ND.astype(np.float64), full_matrices=False)
    return basis_ND[size_N > 1e-6 * size_N.max(initial=0)]
