"""A probe as a folder that stands alone: written by the target `export`, read by `tessera.load_probe`."""

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from tessera import __version__
from tessera.base import hive
from tessera.base.digests import sha256
from tessera.base.errors import TesseraError
from tessera.base.files import atomic, resolve
from tessera.examples.examples import read_examples
from tessera.examples.splits import classes
from tessera.exports.card import card
from tessera.exports.finding import load_same
from tessera.exports.scoring import Reader, Scoring
from tessera.features.registry import KINDS
from tessera.features.spaces import Thresholding
from tessera.models.text import special_ids
from tessera.probes.fitted import LinearProbe
from tessera.probes.task import read_probe
from tessera.saes.encoders import read_about
from tessera.saes.preparing import prepare
from tessera.study.grid import parse_width

LIBRARIES = ("torch", "transformers", "sae-lens", "numpy", "scipy", "scikit-learn", "polars")
FILES = ("cfg.json", "sae_weights.safetensors")


def best_of(cells: Sequence[str]) -> list[str]:
    """Of scores and coefficients of cells, those of the one that is best by cross-validation, of equals the first.

    Its macro F1 is the mean of the repeats.
    """
    axes = ("model", "layer", "width", *KINDS["sae"].axes)
    parts = hive.by(cells, *axes)

    def macro_f1(files: list[str]) -> float:
        return pl.read_parquet(hive.part(files, "scores"), columns=["cv_macro_f1"])["cv_macro_f1"].mean()

    best = max(parts.values(), key=macro_f1)
    return [hive.part(best, "scores"), hive.part(best, "coefficients")]


def write_probe(
    out: Path,
    files: Sequence[str],
    examples: str,
    origin: dict,
    weights: dict,
    encoder: Path,
    tables: dict[str, pl.DataFrame],
) -> None:
    """Write the folder `out`: probe.safetensors, probe.json, README.md, and `sae` where no release has the SAE.

    Args:
        files: scores and coefficients of the cell. examples: of its data set.
        origin: model_identity; made, the folder that the workflow made of the model, if any; stored; hook, as the
            config has it; release, of a published SAE; sae, the folder of another. weights: of the model.
        encoder: prepared. tables: as of `card`.
    """
    scores, coefficients = (pl.read_parquet(file) for file in files)
    names = classes(read_examples(examples)["label"])
    probe, space = read_probe(scores, coefficients, names)
    identity, first = origin["model_identity"], scores.filter(repeat=0).row(0, named=True)
    made = Path(origin["made"]) if origin["made"] else None
    spec = identity["spec"] | {"device": "cpu"}  # one block alone, to see what it puts in front of a text
    model = load_same({**identity, "spec": spec}, weights, 1, made=made)
    read = read_about(encoder)
    about = {
        "format": 1,
        "cell": {axis: value for axis, value in hive.keys(files[0]).items()},
        "classes": names,
        "tau": space.tau,
        "C": probe.C,
        "cv_macro_f1": probe.cv_macro_f1,
        "training_examples": first["training_examples"],
        "model": {"identity": identity, "weights": weights, "made": origin["made"]},
        "blocks": next(name for name, module in model.module.named_modules() if module is model.blocks),
        "hook": read["hook"],
        "centre": read["centre"],
        "max_tokens": spec["max_tokens"],
        "bos": model.bos,
        "special_tokens": special_ids(model.tokenizer).tolist(),
        "stored": origin["stored"],
        "sae": {"release": origin["release"], "hook": origin["hook"], "encoder_sha256": sha256(encoder)},
        "versions": {"tessera": __version__, **{library: version(library) for library in LIBRARIES}},
    }
    with atomic(out) as part:
        part.mkdir()
        tensors = {
            "weights": probe.weights_CK.astype(np.float32),
            "intercept": probe.intercept_C.astype(np.float32),
            "latents": space.columns_K.astype(np.int64),
            "scales": space.scale_K,
        }
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, part / "probe.safetensors")
        (part / "probe.safetensors").chmod(0o644)  # safetensors writes 0600
        (part / "probe.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        if not origin["release"]:
            (part / "sae").mkdir()
            for name in FILES:
                shutil.copyfile(Path(origin["sae"]) / name, part / "sae" / name)
        first_repeat = coefficients.filter(repeat=0)
        text = card(about, tables, first_repeat, _place(identity, origin["made"]))
        (part / "README.md").write_text(text, encoding="utf-8")


def _place(identity: dict, made: str | None) -> str:
    """Where transformers finds a model."""
    source = identity["architecture"]
    return made or source.get("hub") or str(resolve(source["path"]))


class ExportedProbe:
    """A probe that left its study: `probe = tessera.load_probe("results/exports/cell=…")`.

    classes: in the order of the probabilities. card: its README.md. about: its probe.json.
    """

    def __init__(self, folder: str | Path, model: str | Path | None = None):
        """Reads the folder; the model is loaded for the first prediction.

        Args:
            model: a folder, a GGUF file or a hub id, where the model is not where the study found it.

        Raises:
            TesseraError: it is no folder of an exported probe.
        """
        self.folder, self.model = Path(folder), model
        try:
            self.about = json.loads((self.folder / "probe.json").read_text(encoding="utf-8"))
            self._tensors = load_file(self.folder / "probe.safetensors")
            self.card = (self.folder / "README.md").read_text(encoding="utf-8")
            self.classes = self.about["classes"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TesseraError(f"{str(folder)!r} is no folder of an exported probe: {error}") from error

    def __repr__(self) -> str:
        return f"<probe {'/'.join(self.about['cell'].values())}: {', '.join(self.classes)}>"

    def predict(self, texts: Sequence[str]) -> pl.DataFrame:
        """A row per text: text, predicted, and probability_<class> of each class, equal to the study's to the last bit.

        Raises:
            TesseraError: model or SAE are not there, or are others than the study's; a text is none.
        """
        return self._scoring.predict(texts)

    @cached_property
    def _scoring(self) -> Scoring:
        about, tensors = self.about, self._tensors
        cell, made = about["cell"], about["model"]["made"]
        layer, identity = int(cell["layer"]), about["model"]["identity"]
        model = load_same(
            identity, about["model"]["weights"], layer + 1, model=self.model, made=Path(made) if made else None
        )
        keep = TemporaryDirectory()
        self._kept = keep  # as long as this probe
        encoder = self._encoder(Path(keep.name))
        reader = Reader(
            model,
            layer,
            about["max_tokens"],
            about["stored"],
            width=cell["width"],
            encoder=encoder,
        )
        probe = LinearProbe(
            classes=self.classes,
            weights_CK=tensors["weights"].astype(np.float64),
            intercept_C=tensors["intercept"].astype(np.float64),
            C=about["C"],
            cv_macro_f1=about["cv_macro_f1"],
        )
        space = Thresholding(about["tau"], tensors["latents"], tensors["scales"])
        return Scoring(KINDS["sae"], cell, cell["pooling"], reader, space, probe)

    def _encoder(self, folder: Path) -> Path:
        """The SAE, prepared anew, and checked to be the study's.

        Raises:
            TesseraError: it is another.
        """
        sae, cell, saved = self.about["sae"], self.about["cell"], self.folder / "sae"
        if sae["release"]:
            from tessera.saes.saelens import fetch  # imports sae_lens

            saved = folder / "sae"
            fetch(*sae["release"], saved)
        encoder = folder / "encoder.safetensors"
        prepare(saved, encoder, width=parse_width(cell["width"]), layer=int(cell["layer"]), hook=sae["hook"])
        if sha256(encoder) != sae["encoder_sha256"]:
            raise TesseraError(f"{saved} is not the SAE that the study encoded with; export the probe again")
        return encoder
