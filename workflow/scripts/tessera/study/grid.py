"""The cells of the grid: how its axes are spelled, and which folder holds which cell."""

import math
import re
from collections.abc import Iterator

import polars as pl


def split_width(width: str) -> tuple[str, str | None]:
    """A width label as width and entry of saes: `16k_topk` → ("16k", "topk"), `16k` → ("16k", None), the model's."""
    latents, _, source = width.partition("_")
    return latents, source or None


def parse_width(width: str) -> int:
    """Number of latents that a width label names.

    `Nk` is the multiple of 1024 whose thousands are N (16k = 16384, 65k = 65536, 131k = 131072), `Nm` the
    multiple of 1024² whose millions are N; a plain number is itself.

    Raises:
        ValueError: no such multiple exists.
    """
    width = split_width(width)[0]
    number, unit = (int(width[:-1]), width[-1]) if width[-1] in "km" else (int(width), "")
    if not unit:
        return number
    step, scale = (1024, 1000) if unit == "k" else (1024**2, 1000**2)
    latents = math.ceil(number * scale / step) * step
    if latents // scale != number:
        raise ValueError(f"width {width!r} names no multiple of {step}; write the number of latents out")
    return latents


def parse_threshold(threshold: str) -> tuple[str, float | None]:
    """`none` → ("none", None), a number t ≥ 0 → ("fixed", t), `qP` → ("quantile", P / 100).

    Raises:
        ValueError: anything else.
    """
    if threshold == "none":
        return "none", None
    if re.fullmatch(r"q[0-9]+(\.[0-9]+)?", threshold) and 0 < float(threshold[1:]) < 100:
        return "quantile", float(threshold[1:]) / 100
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", threshold) and math.isfinite(float(threshold)):
        return "fixed", float(threshold)
    raise ValueError(f"threshold {threshold!r} does not parse; allowed: none, a number >= 0, or qP with 0 < P < 100")


def parse_selection(selection: str) -> tuple[str, int | None]:
    """`none` → ("none", None), `anova-64` → ("anova", 64).

    Raises:
        ValueError: anything else.
    """
    if selection == "none":
        return "none", None
    found = re.fullmatch(r"(difference|anova|correlation|l1)-([1-9][0-9]*)", selection)
    if not found:
        raise ValueError(f"{selection!r} is no selection; allowed: none, difference-K, anova-K, correlation-K, l1-K")
    return found[1], int(found[2])


def sae_cells(models: dict) -> Iterator[dict]:
    """Every (model, pass number, layer, width) that has an SAE."""
    for model, spec in models.items():
        for number, one_pass in enumerate(spec["passes"]):
            for layer, widths in one_pass.items():
                for width in widths:
                    yield {"model": model, "number": number, "layer": layer, "width": width}


def layer_cells(models: dict) -> Iterator[dict]:
    """Every (model, pass number, layer) once, in its first pass: the cells of the hidden-state baseline."""
    seen = set()
    for model, spec in models.items():
        for number, one_pass in enumerate(spec["passes"]):
            for layer in one_pass:
                if (model, layer) not in seen:
                    seen.add((model, layer))
                    yield {"model": model, "number": number, "layer": layer}


def pass_of(models: dict, model: str, layer: str, width: str | None = None) -> int:
    """Number of the pass that computes a layer (and a width) of a model."""
    for number, one_pass in enumerate(models[model]["passes"]):
        if layer in one_pass and (width is None or width in one_pass[layer]):
            return number
    raise KeyError((model, layer, width))


# Every key that stands in a path, with its type; a cell of a stage has some of them.
HIVE = {
    "model": pl.String,
    "layer": pl.Int64,
    "width": pl.String,
    "data": pl.String,
    "pooling": pl.String,
    "threshold": pl.String,
    "selection": pl.String,
    "unit": pl.String,
    "pass": pl.Int64,
    "shard": pl.Int64,
    "scenario": pl.String,
    "source": pl.String,
    "match": pl.String,
}
UNITS = ("tfidf", "pixels")  # kinds whose unit stands in the column pooling
CELL = ["features", "model", "layer", "width", "pooling", "threshold", "selection", "data"]
