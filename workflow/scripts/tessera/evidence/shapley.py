"""SHAP values of trees: what each column adds to what they say of an example, beside what they say on average.

Those of Lundberg et al. (2020, doi 10.1038/s42256-019-0138-9) that follow the paths of trees: without a column, its
questions are answered in the shares in which training examples answered them. On each example they add up to what the
trees say less its mean: of one tree the probability of the class, of boosting its log odds (of several classes, what
softmax makes probabilities of).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from tessera.base import hive
from tessera.evidence.decision import best_of
from tessera.examples.examples import read_examples
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.features.spaces import Features
from tessera.probes.registry import probe_kind
from tessera.probes.task import Task
from tessera.probes.tree import TreeProbe
from tessera.study import paths
from tessera.study.grid import AXES, CELL

LISTED = 20  # columns of a cell, and of each class
AT_ONCE = 2**24  # SHAP values in memory: 128 MiB


def explain_trees(examples: str, scores: list[str], features: dict[str, list[str]], settings: dict) -> pl.DataFrame:
    """The columns that tell most to the best cell of each kind of features and of trees, on the test split.

    Args:
        scores: those of all its cells of trees.
        features: the files of what they read, by `paths.source`.
    """
    task = Task(read_examples(examples), **settings)
    return pl.concat(
        _of_best(task, Path(examples), files, features) for files in hive.by(scores, "features", "probe").values()
    )


def _of_best(task: Task, examples: Path, scores: list[str], features: dict[str, list[str]]) -> pl.DataFrame:
    best = best_of(scores)
    cell, setting = hive.keys(best), pl.read_parquet(best).filter(repeat=0)["setting"][0]
    one, at = kind(cell["features"]), {axis: cell.get(axis) for axis in ("pooling", "threshold")}
    files = features[paths.source(one.name, (cell[axis] for axis in one.place))]
    loaded, how = one.load(Stored(examples, files, cell), at["pooling"]), probe_kind(cell["probe"])
    selection = cell.get("selection", "none")
    probe, space, matrix_EK = task.refit(one, loaded, **at, selection=selection, how=how, setting=setting)
    read_J = probe.columns_read(matrix_EK.shape[1])
    tests_E = task.split_E == "test"
    told = most_telling(
        probe, matrix_EK[tests_E], task.label_E[tests_E], read_J if space.columns_K is None else space.columns_K[read_J]
    )
    types = {axis: pl.Int64 if AXES[axis].number else pl.String for axis in CELL if axis != "data"}
    return told.select(*(pl.lit(cell.get(axis)).cast(type_).alias(axis) for axis, type_ in types.items()), pl.all())


def most_telling(probe: TreeProbe, matrix_EK: Features, label_E: np.ndarray, number_J: np.ndarray) -> pl.DataFrame:
    """A row per class and column, of the `LISTED` columns of the largest mean absolute SHAP value, over all or there.

    Columns that the trees never ask for are not listed.

    Args:
        matrix_EK: what the probe is given of the examples to explain; label_E are their class numbers.
        number_J: the number of each column that the probe reads.
    """
    classes, columns = len(probe.classes), len(number_J)
    size_CJ, own_CJ, total_CJ = (np.zeros((classes, columns)) for _ in range(3))
    for rows, values_ECJ in shap_values(probe, matrix_EK):
        size_CJ += np.abs(values_ECJ).sum(axis=0)
        total_CJ += values_ECJ.sum(axis=0)
        np.add.at(own_CJ, label_E[rows], values_ECJ[np.arange(len(values_ECJ)), label_E[rows]])
    of_C = np.bincount(label_E, minlength=classes)[:, None]
    rank = pl.col("absolute_shap").rank("ordinal", descending=True).cast(pl.Int64)
    every = pl.DataFrame(
        {
            "class": np.repeat(probe.classes, columns),
            "latent": np.tile(number_J, classes).astype(np.int64),
            "absolute_shap": (size_CJ / len(label_E)).ravel(),
            "shap": _means(own_CJ, of_C),
            "shap_others": _means(total_CJ - own_CJ, len(label_E) - of_C),
        }
    ).with_columns(rank_shap_in_class=rank.over("class"))
    together = every.group_by("latent", maintain_order=True).agg(pl.col("absolute_shap").mean())
    used = together.with_columns(rank_shap=rank).filter(pl.col("absolute_shap") > 0).select("latent", "rank_shap")
    listed = every.join(used, on="latent", maintain_order="left").filter(
        (pl.col("rank_shap") <= LISTED) | ((pl.col("rank_shap_in_class") <= LISTED) & (pl.col("absolute_shap") > 0))
    )
    columns = ("class", "latent", "rank_shap", "rank_shap_in_class", "absolute_shap", "shap", "shap_others")
    return listed.select(columns).sort("rank_shap", maintain_order=True)


def _means(sums_CJ: np.ndarray, of_C: np.ndarray) -> pl.Series:
    """None over no examples."""
    means_CJ = np.divide(sums_CJ, of_C, out=np.full_like(sums_CJ, np.nan), where=of_C > 0)
    return pl.Series(means_CJ.ravel(), nan_to_null=True)


def shap_values(probe: TreeProbe, matrix_EK: Features) -> Iterator[tuple[slice, np.ndarray]]:
    """SHAP values [E, C, J] of the columns that a probe reads, some rows of its matrix at a time.

    Those of the second of two classes are those of the first, negated.
    """
    import shap  # compiles as it is imported

    explainer = shap.TreeExplainer(probe.model)
    step = max(1, AT_ONCE // (len(probe.classes) * len(probe.columns_read(matrix_EK.shape[1]))))
    with threadpool_limits(1):
        for start in range(0, matrix_EK.shape[0], step):
            rows = slice(start, min(start + step, matrix_EK.shape[0]))
            read_EJ = probe.read(matrix_EK[rows])
            values = explainer.shap_values(read_EJ.toarray() if sp.issparse(read_EJ) else read_EJ)
            if values.ndim == 2:  # of boosting and two classes, the log odds of the second
                values = np.stack([-values, values], axis=2)
            yield rows, values.swapaxes(1, 2)
