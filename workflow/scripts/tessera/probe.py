"""The one probe: thresholding, choice of C inside the training split, fit, and a single look at the test splits."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tessera.data import assign_parts, check_folds, classes
from tessera.grid import parse_threshold
from tessera.io import write_named
from tessera.metrics import confusion_scores, resample_weights, score
from tessera.selection import Selected, select


@dataclass
class Thresholding:
    """A threshold fitted on the training split.

    tau: 1[pooled > tau], or None to keep the pooled value scaled by `scale_K` (max-abs of the training split).
    columns_K: the latents that fire in the training split (one at least); dropping the others changes no fit.
    """

    tau: float | None
    columns_K: np.ndarray
    scale_K: np.ndarray

    @classmethod
    def fit(cls, train_EW: sp.csr_array, threshold: str) -> "Thresholding":
        """Fit `threshold` (none, a number, or qP: the P-th percentile of the positive values) on training features."""
        kind, value = parse_threshold(threshold)
        if kind == "quantile":
            positive = train_EW.data[train_EW.data > 0]
            value = float(np.quantile(positive, value)) if len(positive) else 0.0
        kept_EW = train_EW if value is None else _above(train_EW, value)
        fires_W = np.bincount(kept_EW.indices, minlength=train_EW.shape[1]) > 0
        columns_K = np.flatnonzero(fires_W) if fires_W.any() else np.zeros(1, dtype=np.int64)  # a probe needs a column
        scale_K = abs(kept_EW[:, columns_K]).max(axis=0).toarray().ravel()
        return cls(value, columns_K, np.where(scale_K > 0, scale_K, 1).astype(np.float32))

    @classmethod
    def space(cls, train_EW: sp.csr_array, threshold: str) -> Callable[[sp.csr_array], sp.csr_array]:
        """`apply` of `threshold` fitted on training features."""
        return cls.fit(train_EW, threshold).apply

    def apply(self, features_EW: sp.csr_array) -> sp.csr_array:
        """The matrix [E, K] the probe sees, float32."""
        kept_EK = (features_EW if self.tau is None else _above(features_EW, self.tau))[:, self.columns_K]
        return sp.csr_array(kept_EK.multiply(1 / self.scale_K) if self.tau is None else kept_EK, dtype=np.float32)


def _above(features_EW: sp.csr_array, tau: float) -> sp.csr_array:
    above_EW = features_EW.copy()  # eliminate_zeros works in place, on indices that a view would share
    above_EW.data = (features_EW.data > tau).astype(np.float32)
    above_EW.eliminate_zeros()
    return above_EW


@dataclass
class Probe:
    """A fitted L2 logistic regression: decision = features · weights_CKᵀ + intercept_C (one row for two classes).

    columns_K: the columns of the features that it uses, where they were selected.
    """

    classes: list[str]
    weights_CK: np.ndarray
    intercept_C: np.ndarray
    C: float
    cv_macro_f1: float
    converged: bool
    columns_K: np.ndarray | None = None

    def probabilities(self, features_EK) -> np.ndarray:
        """Class probabilities [E, C]."""
        features_EK = _columns(features_EK, self.columns_K)
        decision = np.asarray(features_EK @ self.weights_CK.T) + self.intercept_C
        if len(self.classes) == 2:
            decision = np.hstack([np.zeros_like(decision), decision])
        decision -= decision.max(axis=1, keepdims=True)
        return np.exp(decision) / np.exp(decision).sum(axis=1, keepdims=True)


def _columns(features_EK, columns_K: np.ndarray | None):
    return features_EK if columns_K is None else features_EK[:, columns_K]


def fit_probe(
    train_EK,
    label_E: np.ndarray,
    fold_E: np.ndarray,
    names: list[str],
    grid: list[float],
    selected: Selected | None = None,
) -> Probe:
    """Choose C by macro F1 over the folds inside the training split (the smaller of equals), then refit on all of it.

    What is fitted without labels (vocabulary, scale, quantile) is fitted on the whole training split, before the folds.

    Args:
        train_EK: training features, CSR or dense float32.
        label_E: class numbers into `names`.
        fold_E: fold number of each training example.
        grid: values of C.
        selected: the columns to use, where not all; a fold's were chosen without it.
    """
    with threadpool_limits(1):
        grid = sorted(grid)
        folds = np.unique(fold_E)
        columns_F = selected.folds if selected else [None] * len(folds)
        f1_FG = np.array(
            [
                _fold_scores(_columns(train_EK, columns), label_E, fold_E == fold, grid)
                for fold, columns in zip(folds, columns_F, strict=True)
            ]
        )
        best = int(f1_FG.mean(axis=0).argmax())
        model = _logistic(grid[best], tol=1e-6)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(_columns(train_EK, selected and selected.whole).astype(np.float64), label_E)
    return Probe(
        classes=names,
        weights_CK=model.coef_,
        intercept_C=model.intercept_,
        C=grid[best],
        cv_macro_f1=float(f1_FG.mean(axis=0)[best]),
        converged=not any(issubclass(warning.category, ConvergenceWarning) for warning in caught),
        columns_K=selected and selected.whole,
    )


def _logistic(C: float, tol: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=C, class_weight="balanced", tol=tol, max_iter=5000, warm_start=warm_start)


def _fold_scores(train_EK, label_E: np.ndarray, held_out_E: np.ndarray, grid: list[float]) -> list[float]:
    """Macro F1 on one held-out fold for ascending C, each fit starting from the last (3 × GridSearchCV's speed)."""
    inside, outside = train_EK[~held_out_E], train_EK[held_out_E]
    model = _logistic(grid[0], tol=1e-3, warm_start=True)
    classes, weights_BE = int(label_E.max()) + 1, np.ones((1, held_out_E.sum()), dtype=np.float32)
    scores = []
    for C in grid:
        model.set_params(C=C).fit(inside, label_E[~held_out_E])
        macro_f1, _ = confusion_scores(label_E[held_out_E], model.predict(outside), classes, weights_BE)
        scores.append(macro_f1[0])
    return scores


@dataclass
class Cell:
    """What one cell of the grid leaves behind."""

    scores: pl.DataFrame
    predictions: pl.DataFrame
    coefficients: pl.DataFrame

    def write(self, files: Iterable[str]) -> None:
        """Write each part to the file of its name."""
        write_named(files, vars(self))


class Task:
    """A data set's labels, folds and resamples: what every cell of the data set shares."""

    def __init__(self, examples: pl.DataFrame, *, seed: int, folds: int, resamples: int, C: list[float]):
        check_folds(examples, folds)
        self.examples = examples.sort("example")
        self.seed, self.resamples, self.grid = seed, resamples, [float(value) for value in C]
        self._resampled: dict[str, np.ndarray] = {}
        self.classes = classes(self.examples["label"])
        number = {label: index for index, label in enumerate(self.classes)}
        self.label_E = np.array([number[label] for label in self.examples["label"]])
        self.split_E = self.examples["split"].to_numpy()
        self.train_E = self.split_E == "train"
        self.fold_E = assign_parts(self.examples.filter(split="train"), folds, seed=seed, purpose="folds")

    @property
    def test_splits(self) -> list[str]:
        return [split for split in self.examples["split"].unique(maintain_order=True) if split != "train"]

    def select(self, features_EK, selections: list[str]) -> dict[str, Selected | None]:
        """The columns that each selection keeps, chosen on the training rows of `features_EK`."""
        return select(features_EK[self.train_E], self.label_E[self.train_E], self.fold_E, selections)

    def run(self, features_EK, thresholding: Thresholding | None = None, selected: Selected | None = None) -> Cell:
        """Fit on the training rows of `features_EK` (rows as `self.examples`), score every other split once.

        `thresholding` is what made the matrix; its columns name the latents of the coefficients.
        """
        train_EK = features_EK[self.train_E]
        probe = fit_probe(train_EK, self.label_E[self.train_E], self.fold_E, self.classes, self.grid, selected)
        train_EK = _columns(train_EK, probe.columns_K)
        nonzeros = train_EK.nnz if sp.issparse(train_EK) else np.count_nonzero(train_EK)
        about = {
            "cv_macro_f1": probe.cv_macro_f1,
            "C": probe.C,
            "C_at_edge": probe.C in (min(self.grid), max(self.grid)),
            "tau": thresholding.tau if thresholding else None,
            "n_features": train_EK.shape[1],
            "density": nonzeros / max(1, train_EK.shape[0] * train_EK.shape[1]),
            "training_examples": train_EK.shape[0],
            "converged": probe.converged,
        }
        scores, predictions = [], []
        for split in self.test_splits:
            rows = self.split_E == split
            probability_EC = probe.probabilities(features_EK[rows])
            found = score(self.label_E[rows], probability_EC, self.weights(split))
            scores.append({"split": split, "examples": int(rows.sum()), **found, **about})
            predictions.append(self._predictions(rows, probability_EC))
        return Cell(
            pl.DataFrame(scores, schema_overrides={"tau": pl.Float64}),
            pl.concat(predictions),
            _coefficients(probe, thresholding),
        )

    def weights(self, split: str) -> np.ndarray:
        """The resamples of a split, the same for every cell of the data set."""
        if split not in self._resampled:
            group_E = self.examples["group"].to_numpy()[self.split_E == split]
            self._resampled[split] = resample_weights(group_E, self.resamples, self.seed)
        return self._resampled[split]

    def _predictions(self, rows: np.ndarray, probability_EC: np.ndarray) -> pl.DataFrame:
        chosen = self.examples.filter(pl.Series(rows)).select("example", "id", "split", "group", "label")
        return chosen.with_columns(
            predicted=pl.Series(self.classes).gather(probability_EC.argmax(axis=1)),
            probability=pl.Series(probability_EC.tolist(), dtype=pl.List(pl.Float64)),
        )


def _coefficients(probe: Probe, thresholding: Thresholding | None) -> pl.DataFrame:
    """A row per class and feature (for two classes: of the second), and one with no latent for the intercept.

    `weight` applies to the matrix the probe saw; that was the pooled value / `scale`, or 1[pooled > tau] (scale 1).
    """
    names = probe.classes[1:] if len(probe.classes) == 2 else probe.classes
    size = probe.weights_CK.shape[1]
    used_K = np.arange(size) if probe.columns_K is None else probe.columns_K
    columns_K = thresholding.columns_K[used_K] if thresholding else used_K
    scale_K = thresholding.scale_K[used_K] if thresholding else np.ones(size)
    return pl.DataFrame(
        {
            "class": np.repeat(names, size + 1),
            "latent": pl.Series(np.tile(np.append(columns_K, -1), len(names))).cast(pl.Int32),
            "weight": np.hstack([probe.weights_CK, probe.intercept_C[:, None]]).ravel().astype(np.float32),
            "scale": np.tile(np.append(scale_K, 1.0), len(names)).astype(np.float32),
        }
    ).with_columns(latent=pl.when(pl.col("latent") >= 0).then("latent"))


def read_probe(scores: pl.DataFrame, coefficients: pl.DataFrame, names: list[str]) -> tuple[Probe, Thresholding]:
    """The probe of a cell, from what `Cell.write` left of it, and the thresholding that makes its matrix."""
    about, rows = scores.row(0, named=True), len(names) - 1 if len(names) == 2 else len(names)
    weights_CK = coefficients["weight"].to_numpy().reshape(rows, -1).astype(np.float64)  # the intercept is the last
    of_one = coefficients.head(weights_CK.shape[1] - 1)
    probe = Probe(
        classes=names,
        weights_CK=weights_CK[:, :-1],
        intercept_C=weights_CK[:, -1],
        **{key: about[key] for key in ("C", "cv_macro_f1", "converged")},
    )
    return probe, Thresholding(about["tau"], of_one["latent"].to_numpy().astype(np.int64), of_one["scale"].to_numpy())
