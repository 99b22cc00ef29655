"""New texts, scored as the workflow scores a data set of them: by the same functions, through a temporary folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import torch

from tessera.activations.extraction import extract
from tessera.base.errors import TesseraError, shorten
from tessera.base.files import write_parquet, write_parts
from tessera.features.kind import Kind, Stored
from tessera.features.pooling import BESIDE, pool_folders
from tessera.features.spaces import Features, Space
from tessera.models.embedding import Recipe, embed
from tessera.models.text import TextModel
from tessera.probes.fitted import LinearProbe


def checked(texts: Sequence[str]) -> list[str]:
    """`texts` as a list.

    Raises:
        TesseraError: one of them is no text, or is blank.
    """
    if isinstance(texts, str | bytes):
        raise TesseraError("texts is one string; give a list of strings")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise TesseraError(f"texts[{number}] is {shorten(text)}; each must be a string that is not blank")
    return texts


@dataclass
class Reader:
    """A model and what of it is read: the hidden states of `layer`, and those of its SAE of a width, if any.

    encoder: as `prepare` wrote it, with the width it has in the study. hook: where there is no SAE that says it.
    """

    model: TextModel
    layer: int
    max_tokens: int
    stored: dict
    hook: str | None = None
    width: str | None = None
    encoder: Path | None = None

    def read(self, examples: pl.DataFrame, shard: Path) -> Path:
        """Extract `examples` into the folder `shard`."""
        saes = {(self.layer, self.width): self.encoder} if self.encoder else {}
        options = {"max_tokens": self.max_tokens, "hook": self.hook, **self.stored}
        with _one_thread():
            extract(self.model, examples, saes, [self.layer], shard, **options)
        return shard


@dataclass
class Embedder:
    """A model whose sentence embeddings are read."""

    model: TextModel
    recipe: Recipe
    max_tokens: int

    def read(self, examples: pl.DataFrame, shard: Path) -> Path:
        """The file of the embeddings of `examples`, in the folder `shard`."""
        with _one_thread():
            tables = embed(self.model, self.recipe, examples, max_tokens=self.max_tokens)
            write_parts(shard / "embeddings.parquet", tables)
        return shard / "embeddings.parquet"


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a CPU, sums come out as in a job of the workflow, which has one thread, and by a rounding error otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Scoring:
    """A finished probe: all that stands between a text and its class probabilities.

    kind, place, pooling: of its features. reader: of kinds that a model reads. space: as it was fitted on the training
    split.
    """

    kind: Kind
    place: dict[str, str]
    pooling: str | None
    reader: Reader | Embedder | None
    space: Space
    probe: LinearProbe

    def predict(self, texts: Sequence[str]) -> pl.DataFrame:
        """A row per text: text, predicted, and probability_<class> of each class.

        Of a probe on latents, on the same machine, equal to the last bit to what the workflow tells of the text, in
        whatever company; of one on hidden states, whose product rounds by the number of texts, to a rounding error.

        Raises:
            TesseraError: a text is none, or holds no token that counts.
        """
        texts = checked(texts)
        classes = self.probe.classes
        if not texts:
            schema = {"text": pl.String, "predicted": pl.String}
            return pl.DataFrame(schema=schema | {f"probability_{name}": pl.Float64 for name in classes})
        probability_EC = self.probe.probabilities(self.space.apply(self.features(texts)))
        return pl.DataFrame(
            {
                "text": texts,
                "predicted": pl.Series(classes).gather(probability_EC.argmax(axis=1)),
                **{f"probability_{name}": probability_EC[:, number] for number, name in enumerate(classes)},
            }
        )

    def features(self, texts: list[str]) -> Features:
        """The features [E, W] of texts, before the space."""
        frame = pl.DataFrame({"example": range(len(texts)), "text": texts}, schema_overrides={"example": pl.UInt32})
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_parquet(folder / "examples.parquet", frame)
            shard, files = folder / "shard=0", []
            if self.reader:
                files = [str(self.reader.read(frame, shard))]
            if self.kind.reads_sae:
                pooling = self.pooling.partition(BESIDE)[0]
                pooled = folder / f"pooling={pooling}" / "features.parquet"
                layer, width = self.place["layer"], self.place["width"]
                pool_folders([shard], {pooling: pooled}, layer=layer, width=width)
                files.append(str(pooled))
            return self.kind.load(Stored(folder / "examples.parquet", files, self.place), self.pooling)
