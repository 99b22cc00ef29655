"""Do a few latents suffice for the decision, is it lost without them? In the features, by fits of the same probe."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.evidence.decision import Decision, gaps, weights_of
from tessera.evidence.ranking import matched
from tessera.features.spaces import Features
from tessera.probes import verdicts
from tessera.probes.fit import fit_at
from tessera.probes.fitted import LinearProbe
from tessera.probes.influence import macro_f1, summed
from tessera.probes.metrics import LEVEL
from tessera.probes.selection import order
from tessera.probes.task import Task
from tessera.probes.verdicts import Effect, Scored, contrast

logger = logging.getLogger("tessera")
MARGIN = 0.02  # of macro F1: what k latents may lack of all, and suffice
MOST = 1024  # latents that a curve ends at
COMPONENTS = 512  # principal directions of the hidden states, at most
SUFFICIENT, ZEROED, REFITTED = "only these", "without these", "without these, refitted"
CURVES = {
    "probe": (SUFFICIENT, ZEROED, REFITTED),
    "random": (SUFFICIENT, ZEROED, REFITTED),
    "difference": (SUFFICIENT,),
    "hidden": (SUFFICIENT,),
}  # ranking → what is measured of it


@dataclass
class Basis:
    """Columns that a probe of some C can read, on all rows of a task, and their order: the most important first.

    scale_K: what the columns were divided by, where they were.
    """

    task: Task
    matrix_EK: Features
    C: float
    probe: LinearProbe
    scale_K: np.ndarray | None = None

    @cached_property
    def train_EK(self) -> Features:
        return self.matrix_EK[self.task.train_E]

    @cached_property
    def order_K(self) -> np.ndarray:
        """By what each column adds to telling the classes, on training rows."""
        return most_telling(self.train_EK, self.task.label_E[self.task.train_E], self.probe)

    def fit(self, columns_K: np.ndarray) -> LinearProbe:
        """The probe on some columns alone, at the same C."""
        return fit_at(self.train_EK[:, columns_K], self.task.label_E[self.task.train_E], self.task.classes, self.C)

    def only(self, columns_K: np.ndarray) -> np.ndarray:
        """Classes that a probe on these columns tells on the test split."""
        columns_K = np.sort(columns_K)
        return self._told(self.fit(columns_K), self.matrix_EK[self.task.split_E == "test"][:, columns_K])

    def zeroed(self, columns_K: np.ndarray) -> np.ndarray:
        """Classes that the whole probe tells where these columns are 0."""
        kept_K = np.ones(self.matrix_EK.shape[1], dtype=np.float32)
        kept_K[columns_K] = 0
        test_EK = self.matrix_EK[self.task.split_E == "test"]
        without_EK = test_EK @ sp.diags_array(kept_K) if sp.issparse(test_EK) else test_EK * kept_K
        return self._told(self.probe, without_EK)

    def refitted(self, columns_K: np.ndarray) -> np.ndarray:
        """Classes that a probe on all other columns tells."""
        rest_K = np.setdiff1d(np.arange(self.matrix_EK.shape[1]), columns_K)
        if not len(rest_K):  # nothing is left to tell by: the class that the intercept alone gives
            return self.zeroed(columns_K)
        return self.only(rest_K)

    def whole(self) -> np.ndarray:
        """Classes that the whole probe tells."""
        return self.zeroed(np.zeros(0, dtype=np.int64))

    @staticmethod
    def _told(probe: LinearProbe, matrix_EK: Features) -> np.ndarray:
        return probe.probabilities(matrix_EK).argmax(axis=1)


MEASURES: dict[str, Callable[[Basis, np.ndarray], np.ndarray]] = {
    SUFFICIENT: Basis.only,
    ZEROED: Basis.zeroed,
    REFITTED: Basis.refitted,
}


def most_telling(train_EK: Features, label_E: np.ndarray, probe: LinearProbe) -> np.ndarray:
    """Columns by what they add to telling the classes on training rows (`decision.gaps`), the largest first."""
    numbers = range(len(probe.classes))
    total_CK = np.stack([np.asarray(train_EK[label_E == number].sum(axis=0)).ravel() for number in numbers])
    of_C = np.bincount(label_E, minlength=len(probe.classes))
    return np.argsort(-np.abs(gaps(weights_of(probe), total_CK, of_C)).sum(axis=0), kind="stable")


def basis_of_latents(task: Task, decision: Decision, features_EW: sp.csr_array) -> Basis:
    """The latents of a decision."""
    scale_K = decision.thresholding.scale_K
    return Basis(task, decision.matrix(features_EW), decision.probe.C, decision.probe, scale_K)


def basis_of_directions(task: Task, hidden_ED: np.ndarray, C: float) -> Basis:
    """The principal directions of standardised hidden states, fitted on training rows."""
    from sklearn.decomposition import PCA  # heavy, and only this needs it
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(hidden_ED[task.train_E])
    scaled_ED = scaler.transform(hidden_ED).astype(np.float64)
    train_ED = scaled_ED[task.train_E]
    pca = PCA(min(COMPONENTS, *train_ED.shape), svd_solver="full" if len(train_ED) < 2000 else "covariance_eigh")
    matrix_EK = pca.fit(train_ED).transform(scaled_ED).astype(np.float32)
    probe = fit_at(matrix_EK[task.train_E], task.label_E[task.train_E], task.classes, C)
    return Basis(task, matrix_EK, C, probe)


def sizes(columns: int, k: int) -> list[int]:
    """1, 2, 4 … up to what there is, or MOST; and k."""
    powers = [2**power for power in range(MOST.bit_length()) if 2**power <= min(columns, MOST)]
    return sorted({*powers, *([k] if k <= columns else [])})


class Scores:
    """What is told on the test split of each repeat, as scores with their influence by groups of examples."""

    def __init__(self, tasks: list[Task]):
        self.tasks = tasks
        groups = tasks[0].examples["group"].to_numpy()
        tested = np.unique(np.concatenate([groups[task.split_E == "test"] for task in tasks]))
        self.number_G, self.group_E = len(tested), np.searchsorted(tested, groups)

    def scored(self, told_DR: list[list[np.ndarray]], score: Callable = macro_f1) -> Scored:
        """A score of what each draw tells in each repeat: `score(label_E, told)` → value, influence_E."""
        found = [[self._one(repeat, told, score) for repeat, told in enumerate(told_R)] for told_R in told_DR]
        value_DR = np.array([[value for value, _ in row] for row in found])
        influence_RG = np.mean([[influence for _, influence in row] for row in found], axis=0)
        return Scored(value_DR, influence_RG, frozenset(["random"] if len(found) > 1 else []))

    def _one(self, repeat: int, told: np.ndarray, score: Callable) -> tuple[float, np.ndarray]:
        task = self.tasks[repeat]
        test_E = task.split_E == "test"
        value, influence_E = score(task.label_E[test_E], told)
        return value, summed(influence_E, self.group_E[test_E], self.number_G)


def sufficiency(
    bases: Iterable[tuple[Basis, Basis | None]], *, k: int, draws: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Curves of sufficiency and necessity over k, and the differences that their claims rest on.

    curves: a row per measure, ranking and k; the whole probe has no k. area: the mean of a curve over log k.
    Random latents fire on as many training texts as those of the probe, k of them on either side, in several draws.

    Args:
        bases: of each repeat, one at a time, the latents of the decision and the directions of hidden states.
    """
    tasks, told = [], {}
    for latents, directions in bases:
        tasks.append(latents.task)
        told.setdefault((None, "all", None), []).append([latents.whole()])
        for ranking, measures in CURVES.items():
            basis = directions if ranking == "hidden" else latents
            columns = 0 if basis is None else basis.matrix_EK.shape[1]
            for size in sizes(columns // 2 if ranking == "random" else columns, k):
                chosen_D = _chosen(basis, ranking, size, draws)
                for measure in measures:
                    told.setdefault((measure, ranking, size), []).append(
                        [MEASURES[measure](basis, chosen) for chosen in chosen_D]
                    )
    scores = Scores(tasks)
    whole_of = {name: told_RD for name, told_RD in told.items() if len(told_RD) == len(tasks)}  # sizes of all repeats
    found = {name: scores.scored([*map(list, zip(*told_RD, strict=True))]) for name, told_RD in whole_of.items()}
    curves = _with_areas(pl.DataFrame([_row(*name, one) for name, one in found.items()], infer_schema_length=None))
    return curves, _claims(found, k, tasks)


def _chosen(basis: Basis, ranking: str, size: int, draws: int) -> list[np.ndarray]:
    """The columns that a ranking puts first, per draw."""
    if ranking == "difference":
        label_E = basis.task.label_E[basis.task.train_E]
        return [order("difference", basis.train_EK, label_E, size, basis.scale_K)[:size]]
    if ranking != "random":
        return [basis.order_K[:size]]
    rate_K = np.asarray((basis.train_EK != 0).mean(axis=0)).ravel()
    traits_KT = np.log(np.maximum(rate_K, 1e-9))[:, None]
    generators = (np.random.default_rng([basis.task.seed, draw, size]) for draw in range(draws))
    return [matched(basis.order_K[:size], traits_KT, generator) for generator in generators]


def _row(measure: str | None, ranking: str, size: int | None, scored: Scored) -> dict:
    nothing = Scored(np.zeros_like(scored.value_DR), np.zeros_like(scored.influence_RG), scored.drawn)
    effect = contrast(scored, nothing)
    low, high = effect.interval(LEVEL)
    repeats, draws = scored.value_DR.shape[::-1]
    return {
        "measure": measure,
        "ranking": ranking,
        "k": size,
        "macro_f1": effect.difference,
        "macro_f1_low": max(0.0, low),
        "macro_f1_high": min(1.0, high),
        "repeats": repeats,
        "draws": draws,
    }


def _with_areas(curves: pl.DataFrame) -> pl.DataFrame:
    """Each curve's mean over log2 k, up to the largest k that all rankings of a measure have: column area."""
    known = curves.filter(pl.col("k").is_not_null())
    end = known.group_by("measure", "ranking").agg(pl.col("k").max()).group_by("measure").agg(end=pl.col("k").min())
    areas = []
    for (measure, ranking), rows in (
        known.join(end, on="measure")
        .filter(pl.col("k") <= pl.col("end"))
        .group_by("measure", "ranking", maintain_order=True)
    ):
        log_k, f1 = np.log2(rows["k"].to_numpy()), rows["macro_f1"].to_numpy()
        area = float(np.trapezoid(f1, log_k) / (log_k[-1] - log_k[0])) if len(log_k) > 1 else float(f1[0])
        areas.append({"measure": measure, "ranking": ranking, "area": area})
    schema = {"measure": pl.String, "ranking": pl.String, "area": pl.Float64}
    return curves.join(pl.DataFrame(areas, schema=schema), on=["measure", "ranking"], how="left", maintain_order="left")


def _claims(found: dict[tuple, Scored], k: int, tasks: list[Task]) -> pl.DataFrame:
    """k latents suffice: within MARGIN of all, and above k random ones."""
    whole, few, random = (
        found.get(name) for name in ((None, "all", None), (SUFFICIENT, "probe", k), (SUFFICIENT, "random", k))
    )
    if few is None or random is None:
        logger.warning("k = %d is over half of the latents, so that no claim is made of them", k)
        return pl.DataFrame(schema=DIFFERENCE)
    inside = contrast(few, whole)
    counts_RC = [np.bincount(task.label_E[task.split_E == "test"], minlength=len(task.classes)) for task in tasks]
    rarest = max(1, min(counts_C[counts_C > 0].min() for counts_C in counts_RC))
    unseen = verdicts.unseen(inside.error**2, len(tasks[0].classes) * rarest)  # a text of the rarest class counts most
    shifted = Effect(inside.difference + MARGIN, [*inside.parts, unseen])
    examples = round(np.mean([(task.split_E == "test").sum() for task in tasks]))
    rows = [
        difference(f"all latents − {MARGIN}", shifted, whole.value_DR.shape, examples),
        difference(f"{k} random latents", contrast(few, random), random.value_DR.shape, examples),
    ]
    return pl.DataFrame(rows, schema=DIFFERENCE)


DIFFERENCE = {
    "against": pl.String,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "error": pl.Float64,
    "freedom": pl.Float64,
    "p": pl.Float64,
    "repeats": pl.Int64,
    "draws": pl.Int64,
    "examples": pl.Int64,
}


def difference(against: str, effect: Effect, drawn: tuple[int, int], examples: int) -> dict:
    """A row that a claim rests on: how much better one side is than another, which has so many draws and repeats."""
    low, high = effect.interval(LEVEL)
    ends = {"difference": effect.difference, "difference_low": low, "difference_high": high}
    about = {"error": effect.error, "freedom": effect.freedom, "p": effect.p}
    draws, repeats = drawn
    return {"against": against, **ends, **about, "repeats": repeats, "draws": draws, "examples": examples}
