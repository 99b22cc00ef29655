"""Transfer: a probe fitted on one data set, or on several, scored on the test examples of others.

Source and target share a feature space: the latents of one SAE, the dimensions of one layer, the n-grams of the
training texts. The probe is that of probes/fit.py; fitted once for a source, it is scored on all its targets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base import hive
from tessera.base.errors import TesseraError, shorten
from tessera.examples.examples import load_examples, read_examples
from tessera.examples.splits import assign_parts, check_folds, classes, joined, nested, resplit
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.features.spaces import Features, Space
from tessera.probes.fit import Folds, fit_probe
from tessera.probes.metrics import resample_weights, score
from tessera.study.paths import JOINT
from tessera.study.study import Study


@dataclass
class Test:
    """The test examples of a target, as `data` holds them (a translation of the target, or the target itself)."""

    target: str
    condition: str
    data: str
    rows: np.ndarray  # of the features of `data`
    examples: pl.DataFrame
    text_E: pl.Series  # as scored: the translations, where they are
    label_E: np.ndarray
    weights_BE: np.ndarray


class Transfer:
    """One source (or several, jointly) and its targets: labels, subsets, folds and resamples, shared by all cells.

    Args:
        examples: per data set its examples, as `load_examples` gives them.
        sources: the data sets to train on.
        targets: the data sets to test on.
        translated: target → data set with the same ids, whose texts are translations of the target's.
        fractions: shares of the training splits, nested in one another.
        repeat: number of the re-drawn split of those data sets that `repeats` says have as many; others keep theirs.

    Raises:
        TesseraError: labels or ids do not match, or a fraction leaves a class too small for the folds.
    """

    def __init__(
        self,
        examples: dict[str, pl.DataFrame],
        sources: list[str],
        targets: list[str],
        translated: dict[str, str],
        *,
        fractions: list[float],
        seed: int,
        folds: int,
        resamples: int,
        C: list[float],
        repeat: int = 0,
        repeats: dict[str, int] | None = None,
    ):
        drawn = {data: repeat if repeat < (repeats or {}).get(data, 1) else 0 for data in examples}
        self.examples = {
            data: resplit(frame.sort("example"), seed=seed, repeat=drawn[data]) for data, frame in examples.items()
        }
        self.sources, self.seed, self.folds, self.repeat = sources, seed, folds, repeat
        self.fractions = sorted(float(fraction) for fraction in fractions)
        self.penalties = [float(value) for value in C]
        training = [self.examples[source].filter(split="train") for source in sources]
        self.classes = classes(pl.concat(frame["label"] for frame in training))
        self.tests = []
        for target in targets:
            condition = JOINT if len(sources) > 1 else "native" if sources == [target] else "source"
            self.tests.append(self._test(target, condition, target, resamples))
            if target in translated and sources != [target]:
                self.tests.append(self._test(target, "translated", translated[target], resamples))
        self.subsets = {fraction: self._subset(fraction) for fraction in self.fractions}

    def _test(self, target: str, condition: str, data: str, resamples: int) -> Test:
        wanted = self.examples[target].filter(split="test")
        unknown = set(wanted["label"]) - set(self.classes)
        if unknown:
            raise TesseraError(f"{target} has the label {shorten(min(unknown))}, which {self.sources} do not have")
        place = {id: row for row, id in enumerate(self.examples[data]["id"])}
        missing = [id for id in wanted["id"] if id not in place]
        if missing:
            raise TesseraError(
                f"{data} lacks {len(missing)} of the {len(wanted)} test examples of {target}, such as id "
                f"{shorten(missing[0])}; translations need the ids of what they translate"
            )
        rows = np.array([place[id] for id in wanted["id"]])
        other = wanted["label"] != self.examples[data]["label"].gather(rows)
        if other.any():
            raise TesseraError(
                f"{data} and {target} label {other.sum()} of the {len(wanted)} test examples differently, such as id "
                f"{shorten(wanted['id'][int(other.arg_max())])}; translations need the ids of what they translate"
            )
        number = {label: index for index, label in enumerate(self.classes)}
        return Test(
            target,
            condition,
            data,
            rows,
            wanted,
            self.examples[data]["text"].gather(rows),
            np.array([number[label] for label in wanted["label"]]),
            resample_weights(wanted["group"].to_numpy(), resamples, self.seed),
        )

    def _subset(self, fraction: float) -> dict:
        """Training rows per source, labels and folds of a nested share of the training splits."""
        rows, frames = {}, []
        for source in self.sources:
            frame = self.examples[source].with_row_index("row").filter(split="train")
            frame = frame.filter(nested(frame, fraction, seed=self.seed, repeat=self.repeat))
            rows[source] = frame["row"].to_numpy()
            if len(self.sources) > 1:  # ids and groups of one data set mean nothing in another
                own = {name: pl.lit(f"{source}:") + pl.col(name).cast(pl.String) for name in ("id", "group")}
                frame = frame.with_columns(**own)
            frames.append(frame)
        chosen = pl.concat(frames)
        if len(self.sources) > 1:
            chosen = chosen.with_columns(group=joined(chosen["group"], chosen["text"]))
        try:
            check_folds(chosen, self.folds)
        except TesseraError as error:
            raise TesseraError(f"fraction {fraction:g} of the training split of {self.sources}: {error}") from None
        number = {label: index for index, label in enumerate(self.classes)}
        return {
            "rows": rows,
            "texts": chosen["text"].unique(),
            "label_E": np.array([number[label] for label in chosen["label"]]),
            "fold_E": assign_parts(chosen, self.folds, seed=self.seed, repeat=self.repeat, purpose="folds"),
        }

    def run(self, features: dict[str, Features], fit_space: Callable[[Features], Space]) -> dict[str, pl.DataFrame]:
        """Fit one probe per fraction, score it on every target.

        Args:
            features: per data set, rows as its examples; columns mean the same everywhere.
            fit_space: fits on the chosen training rows what needs no labels (threshold, scale, vocabulary).

        Returns:
            Tables by name. `scores`, a row per fraction and target, where `texts_in_training` counts the test examples
            whose text the probe was trained on (leakage between data sets); `predictions`, a row per fraction, target
            and test example.
        """
        if len({part.shape[1:] for part in features.values()}) > 1:
            raise TesseraError(f"features of different widths: { {data: f.shape for data, f in features.items()} }")
        scores, predictions = [], []
        for fraction, subset in self.subsets.items():
            train = stack([features[source][rows] for source, rows in subset["rows"].items()])
            space = fit_space(train)
            train_EK = space.apply(train)
            folds = Folds(train, subset["label_E"], subset["fold_E"], fit_space)
            probe = fit_probe(train_EK, subset["label_E"], folds, self.classes, self.penalties)
            for test in self.tests:
                probability_EC = probe.probabilities(space.apply(features[test.data][test.rows]))
                place = {"repeat": self.repeat, "target": test.target}
                place |= {"condition": test.condition, "fraction": fraction}
                about = {"training_examples": train_EK.shape[0], "n_features": train_EK.shape[1], "C": probe.C}
                about["C_at_edge"] = probe.C_at_edge
                about |= {"cv_macro_f1": probe.cv_macro_f1, "examples": len(test.rows), "converged": probe.converged}
                about["texts_in_training"] = test.text_E.is_in(subset["texts"].implode()).sum()
                scores.append({**place, **score(test.label_E, probability_EC, test.weights_BE), **about})
                answers = test.examples.select("example", "id", "group", "label").with_columns(
                    predicted=pl.Series(self.classes).gather(probability_EC.argmax(axis=1))
                )
                columns = [pl.lit(value).alias(name) for name, value in place.items()]
                predictions.append(answers.select(*columns, pl.all()))
        return {"scores": pl.DataFrame(scores), "predictions": pl.concat(predictions)}


def transfer_cells(
    name: str,
    examples: list[str],
    files: list[str],
    place: dict[str, str],
    values: dict[str, list[str]],
    scenario: dict,
    settings: dict,
    repeats: dict[str, int] | None = None,
) -> Iterator[tuple[dict[str, str], dict[str, pl.DataFrame]]]:
    """Every transferred cell of a kind of features at one place, with all its repeats, its place on the axes in front.

    From the files of its data sets. A scenario has as many repeats as the data set with most; one with a single split
    keeps it in each.
    """
    read, one = {hive.keys(file)["data"]: file for file in examples}, kind(name)
    frames = {data: read_examples(file) for data, file in read.items()}
    known = {data: (repeats or {}).get(data, 1) for data in read}
    several = [
        Transfer(frames, **scenario, **settings, repeat=repeat, repeats=known) for repeat in range(max(known.values()))
    ]
    stored = {data: Stored(Path(file), hive.at(files, data=data), place) for data, file in read.items()}
    for pooling in values.get("pooling", [None]):
        features = {data: one.load(part, pooling) for data, part in stored.items()}
        for threshold in values.get("threshold", [None]):
            here = {"pooling": pooling, "threshold": threshold}
            found = [transfer.run(features, partial(one.space, **here)) for transfer in several]
            whole = {part: pl.concat([tables[part] for tables in found]) for part in found[0]}
            yield {axis: here[axis] for axis in one.transfer_axes}, whole


def check_scenarios(study: Study) -> None:
    """Labels, ids and fractions of every scenario, as far as its data sets are local files.

    Raises:
        TesseraError: names the scenario.
    """
    settings = study.settings | {"resamples": 0}
    for name, spec in study.transfers.items():
        needed = dict.fromkeys([*spec["sources"], *spec["targets"], *spec["translated"].values()])
        if any({"hub", "answered"} & set(study.datasets[data]) for data in needed):
            continue  # the jobs check them
        frames = {data: load_examples(data, study.datasets[data], seed=study.seed, whole=False) for data in needed}
        kept = {key: spec[key] for key in ("targets", "translated", "fractions")}
        asked = [([source], kept) for source in spec["sources"]] + ([(spec["sources"], kept)] if spec["joint"] else [])
        native = {"translated": {}, "fractions": spec["fractions"]}
        asked += [([one], native | {"targets": [one]}) for one in spec["targets"] if one not in spec["sources"]]
        for sources, targets in asked:
            try:
                Transfer(frames, sources, **targets, **settings)
            except TesseraError as error:
                raise TesseraError(f"config key transfers.{name}: {error}") from None


def stack(parts: list[Features]) -> Features:
    """Rows of several data sets, one below the other."""
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)
