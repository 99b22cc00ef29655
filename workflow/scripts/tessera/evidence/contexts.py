"""The texts that a latent fires on, with their tokens, and like texts on which it is silent."""

from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.evidence.tokens import marks
from tessera.features.pooling import feature_groups
from tessera.probes.task import Task

STRATA = 4  # equal parts of the range from 0 to the latent's largest activation
SILENT = 3  # a silent text to so many that fire
OFTEN = 0.02  # of neutral tokens: a latent that fires on more is no specific one (sae_entities, arXiv 2411.14257)
BLANK = "␣"  # stands for a token of blanks alone


def contexts(
    task: Task,
    shards: list[Path],
    tokens: list[Path],
    features: Path,
    largest_EL: np.ndarray,
    latents: list[int],
    number: int,
    width: int,
) -> pl.DataFrame:
    """Texts of each latent: `number` that fire it, stratified, and like ones on which it is silent.

    Columns: latent, stratum (1: the highest quarter of its range; null where it is silent), example, id, split, label,
    text, tokens (of the text), similarity (of a silent text), and lists of the places of the tokens that fire it, as
    tokens.parquet has them, with their activations.
    """
    chosen = {latent: stratified(task, largest_EL[:, n], number, latent) for n, latent in enumerate(latents)}
    silent = _silent(task, features, chosen, largest_EL, number, width)
    rows = [
        {"latent": latent, "stratum": stratum, "example": example, "similarity": None}
        for latent, some in chosen.items()
        for example, stratum in some
    ]
    rows += [
        {"latent": latent, "stratum": None, "example": example, "similarity": similarity}
        for latent, some in silent.items()
        for example, similarity in some
    ]
    schema = {"latent": pl.Int64, "stratum": pl.Int64, "example": pl.UInt32, "similarity": pl.Float64}
    picked = pl.DataFrame(rows, schema=schema)
    listed, lengths = marks(shards, tokens, picked)
    texts = task.examples.select("example", "id", "split", "label", "text")
    together = picked.join(texts, on="example", how="left").join(lengths, on="example", how="left")
    order = pl.struct(
        pl.col("latent").replace_strict(latents, range(len(latents))), pl.col("stratum").fill_null(STRATA + 1)
    )
    return together.join(listed, on=["latent", "example"], how="left").sort(order, maintain_order=True)


def fires_on(found: pl.DataFrame, number: int = 5) -> pl.DataFrame:
    """Latent and fires_on: the tokens that fire it in its contexts, those of the largest summed activation first."""
    columns = ["piece", "start", "end", "activation"]
    tokens = found.select("latent", "text", *columns).explode(columns).drop_nulls("activation")
    length = pl.col("end") - pl.col("start")
    surface = pl.coalesce("piece", pl.col("text").str.slice(pl.col("start"), length)).str.strip_chars()
    token = pl.when(surface == "").then(pl.lit(BLANK)).otherwise(surface)
    sums = tokens.select("latent", "activation", token=token).group_by("latent", "token", maintain_order=True)
    ordered = sums.agg(pl.col("activation").sum()).sort("activation", descending=True, maintain_order=True)
    return ordered.group_by("latent", maintain_order=True).agg(fires_on=pl.col("token").head(number).str.join(" "))


def stratified(task: Task, largest_E: np.ndarray, number: int, seed: int) -> list[tuple[int, int]]:
    """Up to `number` texts and their strata: the largest, then strata and classes in turn, near-duplicates once."""
    generator = np.random.default_rng([task.seed, seed])
    fires_E = np.flatnonzero(largest_E > 0)
    if not len(fires_E):
        return []
    share_E = largest_E[fires_E] / largest_E[fires_E].max()
    stratum_E = STRATA - np.minimum((share_E * STRATA).astype(int), STRATA - 1)
    near_E = task.examples["near"].to_numpy()
    first = int(fires_E[largest_E[fires_E].argmax()])
    taken, used = [(first, 1)], {near_E[first]}
    queues = []
    for stratum in range(1, STRATA + 1):
        for name in range(len(task.classes)):
            here = fires_E[(stratum_E == stratum) & (task.label_E[fires_E] == name)]
            queues.append((stratum, list(generator.permutation(here))))
    while len(taken) < number and any(queue for _, queue in queues):
        for stratum, queue in queues:
            while queue and near_E[queue[-1]] in used:
                queue.pop()
            if queue and len(taken) < number:
                example = int(queue.pop())
                used.add(near_E[example])
                taken.append((example, stratum))
    return sorted(taken, key=lambda one: -largest_E[one[0]])


def _silent(
    task: Task, features: Path, chosen: dict[int, list], largest_EL: np.ndarray, number: int, width: int
) -> dict[int, list[tuple[int, float]]]:
    """Per latent the texts most like those that fire it, by the cosine of all other pooled latents, near ones once."""
    latents = list(chosen)
    shows_LE = np.zeros((len(latents), len(task.examples)), dtype=np.float32)
    for column, some in enumerate(chosen.values()):
        shows_LE[column, [example for example, _ in some]] = 1
    centre_LW = np.zeros((len(latents), width), dtype=np.float32)
    for example_E, part_EW in feature_groups(features, width):
        centre_LW += (shows_LE[:, example_E] / _norms(part_EW)) @ part_EW
    known = [column for column, latent in enumerate(latents) if latent < width]
    centre_LW[known, [latents[column] for column in known]] = 0
    centre_LW /= np.maximum(1e-12, np.linalg.norm(centre_LW, axis=1, keepdims=True))
    cosine_EL = np.zeros((len(task.examples), len(latents)), dtype=np.float32)
    for example_E, part_EW in feature_groups(features, width):
        cosine_EL[example_E] = (part_EW @ centre_LW.T) / _norms(part_EW)[:, None]
    near_E = task.examples["near"].to_numpy()
    silent = {}
    for column, latent in enumerate(latents):
        used = {near_E[example] for example, _ in chosen[latent]}
        some: list[tuple[int, float]] = []
        quiet_E = np.flatnonzero(largest_EL[:, column] <= 0)
        for example in quiet_E[np.argsort(-cosine_EL[quiet_E, column], kind="stable")]:
            if len(some) == -(-number // SILENT) or not chosen[latent]:
                break
            if near_E[example] not in used:
                used.add(near_E[example])
                some.append((int(example), float(cosine_EL[example, column])))
        silent[latent] = some
    return silent


def _norms(part_EW: sp.csr_array) -> np.ndarray:
    return np.maximum(1e-12, sp.linalg.norm(part_EW, axis=1))
