"""Why each test example was decided as it was: the decision as a sum of what latents add, and where these fire."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tessera.evidence.decision import Decision
from tessera.evidence.tokens import marks
from tessera.features.pooling import feature_groups
from tessera.features.spaces import Features
from tessera.probes.task import Task

LISTED = 12  # latents of an example


def explain(task: Task, decision: Decision, features: Path, width: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The decision on every example of every test split: decision = intercept + Σ contribution + others.

    Returns:
        A row per example for the predicted class, and one for that of the label where it differs: example, id, split,
        label, predicted, class, decision, intercept, others (what all latents add that are not listed); and the latents
        listed, the LISTED of the largest size of contribution, largest first: example, latent, value (what the probe
        sees of it), contribution (to the decision for the predicted class), label_contribution (for that of the label).
    """
    test_E = np.isin(task.split_E, task.test_splits)
    parts = []
    for example_E, part_EW in feature_groups(features, width):
        kept_E = test_E[example_E]
        if kept_E.any():
            example_E = example_E[kept_E]
            parts.append(_explained(decision, decision.matrix(part_EW[kept_E]), example_E, task.label_E[example_E]))
    decided, listed = (pl.concat(some).sort("example", maintain_order=True) for some in zip(*parts, strict=True))
    names = pl.Series(task.classes)
    decided = decided.with_columns(
        pl.Series(name, names.gather(decided[name])) for name in ("predicted", "class")
    ).join(task.examples.select("example", "id", "split", "label"), on="example", how="left", maintain_order="left")
    order = ("example", "id", "split", "label", "predicted", "class", "decision", "intercept", "others")
    return decided.select(order), listed


def _explained(
    decision: Decision, matrix_EK: Features, example_E: np.ndarray, label_E: np.ndarray
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same of the rows of a matrix; classes by their numbers."""
    decision_EC = matrix_EK @ decision.weights_CK.T + decision.intercept_C
    predicted_E, starts_E = decision_EC.argmax(axis=1), matrix_EK.indptr[:-1]
    row = np.repeat(np.arange(len(example_E)), np.diff(matrix_EK.indptr))
    column, value = matrix_EK.indices, matrix_EK.data
    added, added_label = (value * decision.weights_CK[of_E[row], column] for of_E in (predicted_E, label_E))
    order = np.lexsort((column, -np.abs(added), row))  # rows stay where they are
    rank = np.arange(len(row)) - starts_E[row]
    listed = order[(rank < LISTED) & (added[order] != 0)]
    rest = np.ones(len(row), dtype=bool)
    rest[listed] = False
    decided = []
    for of_E, parts, kept_E in (
        (predicted_E, added, np.ones(len(example_E), dtype=bool)),
        (label_E, added_label, label_E != predicted_E),
    ):
        frame = {
            "example": example_E,
            "predicted": predicted_E,
            "class": of_E,
            "decision": decision_EC[np.arange(len(example_E)), of_E],
            "intercept": decision.intercept_C[of_E],
            "others": np.bincount(row[rest], weights=parts[rest], minlength=len(example_E)),
        }
        decided.append(pl.DataFrame(frame).filter(pl.Series(kept_E)))
    latents = {
        "example": example_E[row[listed]],
        "latent": decision.latents_K[column[listed]],
        "value": value[listed],
        "contribution": added[listed],
        "label_contribution": added_label[listed],
    }
    return pl.concat(decided), pl.DataFrame(latents)


def marked(listed: pl.DataFrame, shards: list[Path], tokens: list[Path]) -> Iterator[pl.DataFrame]:
    """Shard by shard, the latents listed of its examples, with lists of the tokens they fire on as in `marks`."""
    for shard, file in zip(shards, tokens, strict=True):
        found, lengths = marks([shard], [file], listed)
        here = listed.filter(pl.col("example").is_in(lengths["example"].implode()))
        yield here.join(found, on=["latent", "example"], how="left", maintain_order="left")
