"""One cell of a finished study: its scores and predictions, its latents, and its probe on new texts."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tessera.base.errors import TesseraError
from tessera.examples.examples import read_examples
from tessera.examples.splits import classes
from tessera.features.kind import Stored
from tessera.features.registry import kind
from tessera.features.spaces import Space
from tessera.models.weights import read_weights
from tessera.notebook.folder import Results
from tessera.plan import models
from tessera.probes.compare import differences, disagreements
from tessera.probes.registry import probe_kind
from tessera.probes.task import read_probe
from tessera.study import paths
from tessera.study.evidence import AXES as EVIDENCE
from tessera.study.grid import AXES
from tessera.study.media import holds

if TYPE_CHECKING:
    from tessera.exports.scoring import Embedder, Reader, Scoring


class OpenCell:
    """A cell: one kind of features at one point of the grid, on one data set, with all its repeats and draws.

    place: its axes and their values, as strings.
    """

    def __init__(self, study: Results, place: dict[str, str]):
        self.study, self.place, self.kind = study, place, kind(place["features"])
        self._scorings: dict[str | Path | None, Scoring] = {}

    @property
    def name(self) -> str:
        return "/".join(self.place.values())

    def __repr__(self) -> str:
        return f"<cell {self.name}>"

    @property
    def scores(self) -> pl.DataFrame:
        """Its rows of the table scores: one per test split, repeat and draw."""
        return self.study.scores.filter(**self._where(self.place))

    @property
    def predictions(self) -> pl.DataFrame:
        """Its rows of the table predictions: one per test example of each split, repeat and draw."""
        return self.study.predictions.filter(**self._where(self.place)).collect()

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the probabilities."""
        return classes(self.study.classes.filter(data=self.place["data"])["class"])

    @property
    def latents(self) -> pl.DataFrame:
        """The rows of the table latents at its place: what each latent that fires adds to telling each class.

        They are of the place's best cell, which the columns pooling, threshold and selection name.

        Raises:
            TesseraError: the study did not look into this place.
        """
        return self._evidence("latents")

    def contexts(self, latent: int) -> pl.DataFrame:
        """Texts that a latent fires on, with the tokens, and like texts on which it is silent (stratum null).

        Raises:
            TesseraError: the study did not look into this place, or kept no contexts of this latent.
        """
        found = self._evidence("contexts")
        shown = sorted(found["latent"].unique())
        if latent not in shown:
            raise TesseraError(
                f"no contexts of latent {latent} at {self.name}; there are of {', '.join(map(str, shown))}: config key "
                f"evidence.ids asks for further ones"
            )
        return found.filter(latent=latent)

    def compare(self, other: "OpenCell | str") -> pl.DataFrame:
        """By how much this cell and another differ on the same test examples, and whether that is chance.

        A row per test split, metric and repeat (null: over all repeats), as the target `compare` writes it: left is
        this cell, right the other. The first draw of either.

        Raises:
            TesseraError: they are not of one data set.
        """
        sides, probe = self._pair(other), self.study.config["probe"]
        return differences(*sides, self.classes, resamples=probe["resamples"], seed=probe["seed"])

    def disagreements(self, other: "OpenCell | str") -> pl.DataFrame:
        """The test examples, in each repeat, to which the two cells give different labels; with their texts."""
        return disagreements(*self._pair(other), read_examples(self._there(paths.EXAMPLES.format(**self.place))))

    def predict(self, texts: Sequence[str], model: str | Path | None = None) -> pl.DataFrame:
        """Score new texts with the cell's probe, that of the first repeat (and draw).

        A row per text: text, predicted, and probability_<class> of each class; to the last bit what the workflow makes
        of a data set of these texts (see `tessera.exports.scoring`).

        Args:
            model: a folder, a GGUF file or a hub id, where the model is no longer where the config says.

        Raises:
            TesseraError: the model, or what else it takes, is not here; a text is none.
        """
        return self._scoring(model).predict(texts)

    def _where(self, place: dict[str, str]) -> dict[str, str | int]:
        return {axis: int(value) if AXES[axis].number else value for axis, value in place.items()}

    def _evidence(self, table: str) -> pl.DataFrame:
        place = {axis: self.place.get(axis) for axis in EVIDENCE}
        if table in self.study.tables and self.kind.latents:
            found = getattr(self.study, table).lazy().filter(**self._where(place)).collect()
            if len(found):
                return found
        raise TesseraError(
            f"the study has no evidence of {self.name}; config key evidence.places names the places of SAEs that it "
            f"looks into"
        )

    def _pair(self, other: "OpenCell | str") -> tuple[pl.DataFrame, pl.DataFrame]:
        other = OpenCell(self.study, self.study.place(other)) if isinstance(other, str) else other
        if self.place["data"] != other.place["data"]:
            raise TesseraError(f"{self.name} and {other.name} are of two data sets; cells of one can be compared")
        return self.predictions.filter(draw=0), other.predictions.filter(draw=0)

    def _there(self, path: str) -> Path:
        """A file of the results, beside the tables.

        Raises:
            TesseraError: it was not copied.
        """
        file = self.study.file(path)
        if not file.exists():
            raise TesseraError(f"{file} is not there: copy that folder of the results too, not the tables alone")
        return file

    def _scoring(self, model: str | Path | None) -> "Scoring":
        from tessera.exports.scoring import Scoring  # imports torch

        if holds(self.study.plan.datasets[self.place["data"]]) != "text":
            raise TesseraError(f"{self.name} reads images; predict takes texts")
        if not probe_kind(self.place["probe"]).linear:
            raise TesseraError(
                f"{self.name}: a cell keeps the weights of linear probes alone; predict takes one of these"
            )
        if model not in self._scorings:
            files = [self._there(self.kind.path.format(part=part, **self.place)) for part in ("scores", "coefficients")]
            probe, space = read_probe(*map(pl.read_parquet, files), self.classes)
            if not self.kind.latents:
                space = self._refitted()
            reader = self._reader(model) if "model" in self.place else None
            self._scorings[model] = Scoring(self.kind, self.place, self.place.get("pooling"), reader, space, probe)
        return self._scorings[model]

    def _refitted(self) -> Space:
        """The space of features other than latents, which a cell does not keep: fitted again on the training split."""
        examples = self._there(paths.EXAMPLES.format(**self.place))
        train_E = read_examples(examples).sort("example")["split"].to_numpy() == "train"
        shards = range(ceil(len(train_E) / self.study.plan.shard_size))
        place = {axis: self.place[axis] for axis in self.kind.place}
        inputs = self.kind.inputs(self.study.plan, shards, self.place["data"], **place)
        stored = Stored(examples, [str(self._there(file)) for file in inputs], place)
        pooling, how = self.place.get("pooling"), probe_kind(self.place["probe"])
        return how.space(self.kind, self.kind.load(stored, pooling)[train_E], pooling, self.place.get("threshold"))

    def _reader(self, model: str | Path | None) -> "Reader | Embedder":
        from tessera.exports.finding import load_encoder, load_same  # imports torch and transformers
        from tessera.exports.scoring import Embedder, Reader

        plan, name = self.study.plan, self.place["model"]
        identity, weights = models.identity(plan, name), read_weights(self._there(paths.WEIGHTS.format(model=name)))
        most, made = identity["spec"]["max_tokens"], models.folder(plan, name)
        where = {"model": model, "made": self.study.file(made) if made else None}
        identity = models.within(identity, self.study.folder.parent)
        if "layer" not in self.place:
            return Embedder(*load_encoder(identity, weights, **where), most)
        layer = int(self.place["layer"])
        return Reader(
            load_same(identity, weights, layer + 1, **where),
            layer,
            most,
            models.stored(plan, name),
            hook=self._hook(),
            width=self.place.get("width"),
            encoder=self._there(paths.ENCODER.format(**self.place)) if self.kind.reads_sae else None,
        )

    def _hook(self) -> str:
        """What was read of the layer: of hidden states what its SAEs read."""
        number = self.study.plan.pass_of(self.place["model"], self.place["layer"], self.place.get("width"))
        summary = pl.read_parquet(self._there(paths.SUMMARY.format(shard=0, **self.place, **{"pass": number})))
        return summary.filter(layer=int(self.place["layer"]))["hook"][0]
