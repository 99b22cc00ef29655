"""A data set as a task for probes: labels, folds and resamples that all its cells share, and what a cell leaves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.files import write_named
from tessera.examples.examples import read_examples
from tessera.examples.regimes import UNUSED, in_regime
from tessera.examples.splits import assign_parts, check_folds, classes, resplit
from tessera.features.kind import Kind, Stored
from tessera.features.registry import kind
from tessera.features.spaces import Features, Space, Thresholding, density
from tessera.probes.fit import Folds, fit_at, fit_probe
from tessera.probes.fitted import LinearProbe, Probe, columns_of
from tessera.probes.kind import ProbeKind
from tessera.probes.metrics import resample_weights, score
from tessera.probes.registry import LOGISTIC, PROBES, probe_kind
from tessera.probes.selection import Selected, select


@dataclass
class Cell:
    """What one cell of the grid leaves behind; coefficients where its probe is linear."""

    scores: pl.DataFrame
    predictions: pl.DataFrame
    coefficients: pl.DataFrame | None

    def write(self, files: Iterable[str]) -> None:
        """Write each part to the file of its name."""
        write_named(files, {name: part for name, part in vars(self).items() if part is not None})


class Task:
    """A data set's labels, split, folds and resamples in one repeat: what every cell of the data set shares.

    regime: what the training split is made into, one of `REGIMES`, and to which level.
    """

    def __init__(
        self,
        examples: pl.DataFrame,
        *,
        seed: int,
        folds: int,
        resamples: int,
        C: list[float],
        repeat: int = 0,
        regime: tuple[str, float] | None = None,
    ):
        plain = resplit(examples.sort("example"), seed=seed, repeat=repeat)
        self.examples = in_regime(plain, *regime, seed=seed, repeat=repeat) if regime else plain
        check_folds(self.examples, folds, plain.filter(split="train")["label"])
        self.seed, self.resamples, self.penalties = seed, resamples, [float(value) for value in C]
        self.repeat = repeat
        self._resampled: dict[str, np.ndarray] = {}
        self.classes = classes(self.examples["label"])
        number = {label: index for index, label in enumerate(self.classes)}
        self.label_E = np.array([number[label] for label in self.examples["label"]])
        self.split_E = self.examples["split"].to_numpy()
        self.train_E = self.split_E == "train"
        train = self.examples.filter(split="train")
        self.fold_E = assign_parts(train, folds, seed=seed, repeat=repeat, purpose="folds")

    @property
    def test_splits(self) -> list[str]:
        return [split for split in self.examples["split"].unique(maintain_order=True) if split not in ("train", UNUSED)]

    def fit(
        self,
        kind: Kind,
        features: Features,
        pooling: str | None,
        threshold: str | None,
        selections: list[str],
        how: ProbeKind = PROBES[LOGISTIC],
    ) -> Iterator["Cell"]:
        """One cell per selection, of features that are loaded; what is fitted without labels is so in each fold."""
        matrix_EK, space, folds, chosen = self._prepared(kind, features, pooling, threshold, selections, how)
        for selection in selections:
            yield self.run(matrix_EK, space, folds, chosen[selection], how)

    def refit(
        self,
        kind: Kind,
        features: Features,
        pooling: str | None,
        threshold: str | None,
        selection: str,
        how: ProbeKind,
        setting: str,
    ) -> tuple[Probe, Space, Features]:
        """The probe of a cell once more, at the setting that was chosen for it; its space, and the matrix of all."""
        matrix_EK, space, _, chosen = self._prepared(kind, features, pooling, threshold, [selection], how)
        columns_K, candidate = chosen[selection] and chosen[selection].whole, how.candidate(setting)
        label_E, seed = self.label_E[self.train_E], self.seed + self.repeat
        probe = fit_at(matrix_EK[self.train_E], label_E, self.classes, candidate, columns_K, how, seed)
        return probe, space, matrix_EK

    def _prepared(
        self,
        kind: Kind,
        features: Features,
        pooling: str | None,
        threshold: str | None,
        selections: list[str],
        how: ProbeKind,
    ) -> tuple[Features, Space, Folds, dict[str, Selected | None]]:
        """The matrix of all rows, the space that made it, the folds, and the columns of every selection."""
        train, fit_space = features[self.train_E], partial(how.space, kind, pooling=pooling, threshold=threshold)
        space = fit_space(train)
        folds = Folds(train, self.label_E[self.train_E], self.fold_E, fit_space)
        matrix_EK = space.apply(features)
        chosen = select(matrix_EK[self.train_E], folds, self.label_E[self.train_E], selections, space.scale_K)
        return matrix_EK, space, folds, chosen

    def run(
        self,
        matrix_EK: Features,
        space: Space,
        folds: Folds,
        selected: Selected | None = None,
        how: ProbeKind = PROBES[LOGISTIC],
    ) -> Cell:
        """Fit on the training rows of the matrix that `space` made (rows as `self.examples`), score the others once."""
        train_EK, label_E = matrix_EK[self.train_E], self.label_E[self.train_E]
        seed = self.seed + self.repeat
        probe = fit_probe(train_EK, label_E, folds, self.classes, self.penalties, selected, how, seed)
        train_EK = columns_of(train_EK, probe.columns_K)
        about = {
            "cv_macro_f1": probe.cv_macro_f1,
            "C": probe.C,
            "C_at_edge": probe.C_at_edge,
            "setting": probe.setting,
            "tau": space.tau,
            "n_features": train_EK.shape[1],
            "density": density(train_EK),
            "training_examples": train_EK.shape[0],
            "converged": probe.converged,
        }
        scores, predictions = [], []
        for split in self.test_splits:
            rows = self.split_E == split
            probability_EC = probe.probabilities(matrix_EK[rows])
            found = score(self.label_E[rows], probability_EC, self.weights(split))
            scores.append({"repeat": self.repeat, "split": split, "examples": int(rows.sum()), **found, **about})
            predictions.append(self._predictions(rows, probability_EC))
        return Cell(
            pl.DataFrame(scores, schema_overrides={"C": pl.Float64, "setting": pl.String, "tau": pl.Float64}),
            pl.concat(predictions),
            _coefficients(probe, space, self.repeat) if isinstance(probe, LinearProbe) else None,
        )

    def weights(self, split: str) -> np.ndarray:
        """The resamples of a split, the same for every cell of the data set."""
        if split not in self._resampled:
            group_E = self.examples["group"].to_numpy()[self.split_E == split]
            self._resampled[split] = resample_weights(group_E, self.resamples, self.seed)
        return self._resampled[split]

    def _predictions(self, rows: np.ndarray, probability_EC: np.ndarray) -> pl.DataFrame:
        chosen = self.examples.filter(pl.Series(rows)).select(
            pl.lit(self.repeat, pl.Int64).alias("repeat"), "example", "id", "split", "group", "label"
        )
        return chosen.with_columns(
            predicted=pl.Series(self.classes).gather(probability_EC.argmax(axis=1)),
            probability=pl.Series(probability_EC.tolist(), dtype=pl.List(pl.Float64)),
        )


def probe_cells(
    name: str,
    examples: str,
    files: list[str],
    place: dict[str, str],
    values: dict[str, list[str]],
    settings: dict,
    repeats: int = 1,
    probe: str = LOGISTIC,
    device: str = "cpu",
) -> Iterator[tuple[dict[str, str], Cell]]:
    """Every cell of a kind of features and of probe at one place, all its repeats, its place on the axes in front.

    From the file of the examples and the files of its features; `values` are those of the axes, `device` is where
    probes are fitted.
    """
    frame = read_examples(examples)
    tasks = [Task(frame, **settings, repeat=repeat) for repeat in range(repeats)]
    yield from cells_of(tasks, name, Stored(Path(examples), files, place), values, probe, device)


def cells_of(
    tasks: list[Task], name: str, stored: Stored, values: dict[str, list[str]], probe: str, device: str
) -> Iterator[tuple[dict[str, str], Cell]]:
    """The same of tasks, one per repeat, and of features that are stored."""
    one, how = kind(name), probe_kind(probe).on(device)
    selections = values.get("selection", ["none"])
    for pooling in values.get("pooling", [None]):
        features = one.load(stored, pooling)
        for threshold in values.get("threshold", [None]):
            fits = zip(*(task.fit(one, features, pooling, threshold, selections, how) for task in tasks), strict=True)
            for selection, cells in zip(selections, fits, strict=True):
                here = {"pooling": pooling, "threshold": threshold, "selection": selection}
                yield {axis: here[axis] for axis in one.axes}, _together(cells)


def _together(cells: Iterable[Cell]) -> Cell:
    """The repeats of a cell, one below the other."""
    parts = [vars(cell) for cell in cells]
    left = [name for name, part in parts[0].items() if part is not None]
    return Cell(**{name: pl.concat([part[name] for part in parts]) if name in left else None for name in parts[0]})


def _coefficients(probe: LinearProbe, space: Space, repeat: int) -> pl.DataFrame:
    """A row per class and feature (for two classes: of the second), and one with no latent for the intercept.

    `weight` applies to the matrix the probe saw; that was the pooled value / `scale`, or 1[pooled > tau] (scale 1).
    """
    names = probe.classes[1:] if len(probe.classes) == 2 else probe.classes
    size = probe.weights_CK.shape[1]
    used_K = np.arange(size) if probe.columns_K is None else probe.columns_K
    columns_K = used_K if space.columns_K is None else space.columns_K[used_K]
    scale_K = np.ones(size) if space.scale_K is None else space.scale_K[used_K]
    return pl.DataFrame(
        {
            "repeat": np.full(len(names) * (size + 1), repeat),
            "class": np.repeat(names, size + 1),
            "latent": pl.Series(np.tile(np.append(columns_K, -1), len(names))).cast(pl.Int32),
            "weight": np.hstack([probe.weights_CK, probe.intercept_C[:, None]]).ravel().astype(np.float32),
            "scale": np.tile(np.append(scale_K, 1.0), len(names)).astype(np.float32),
        }
    ).with_columns(latent=pl.when(pl.col("latent") >= 0).then("latent"))


def read_probe(
    scores: pl.DataFrame, coefficients: pl.DataFrame, names: list[str], repeat: int = 0
) -> tuple[LinearProbe, Thresholding]:
    """The linear probe of a cell, from what `Cell.write` left of it, and the thresholding that makes its matrix."""
    scores, coefficients = scores.filter(repeat=repeat), coefficients.filter(repeat=repeat)
    about, rows = scores.row(0, named=True), len(names) - 1 if len(names) == 2 else len(names)
    weights_CK = coefficients["weight"].to_numpy().reshape(rows, -1).astype(np.float64)  # the intercept is the last
    of_one = coefficients.head(weights_CK.shape[1] - 1)
    probe = LinearProbe(
        classes=names,
        weights_CK=weights_CK[:, :-1],
        intercept_C=weights_CK[:, -1],
        **{key: about[key] for key in ("C", "C_at_edge", "cv_macro_f1", "converged")},
    )
    return probe, Thresholding(about["tau"], of_one["latent"].to_numpy().astype(np.int64), of_one["scale"].to_numpy())
