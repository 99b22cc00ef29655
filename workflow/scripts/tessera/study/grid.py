"""The axes of the grid: how their values are spelled, in the config, in paths and in tables."""

import math
import re
from dataclasses import dataclass

BEFORE_ANSWER = "before_answer"  # the pooling that reads the last token before the answer, not the text's
NAME = r"[A-Za-z0-9][\w.-]*"
MOST_LATENTS = 100_000_000


@dataclass(frozen=True)
class Axis:
    """A key that stands in paths: the pattern of its values, and whether they are whole numbers."""

    pattern: str = NAME
    number: bool = False


# Every key that stands in a path; a stage has some of them.
AXES = {
    "features": Axis(r"[a-z][a-z0-9_]*"),  # a kind of features
    "model": Axis(),
    "layer": Axis(r"\d+", number=True),
    "width": Axis(r"[1-9]\d*[km]?(_[A-Za-z0-9][\w.-]*)?"),
    "data": Axis(),
    "pooling": Axis(r"[a-z0-9_]+"),
    "threshold": Axis(r"[a-z0-9.+-]+"),
    "selection": Axis(r"[a-z0-9-]+"),
    "probe": Axis(r"[a-z][a-z0-9_]*"),  # a kind of probes
    "pass": Axis(r"\d+", number=True),
    "shard": Axis(r"\d+", number=True),
    "texts": Axis(r"[0-9a-f]+"),  # a digest of what is read
    "scenario": Axis(),
    "source": Axis(),
    "match": Axis(),
    "direction": Axis(r"[a-z]+(-[0-9]+)?"),
    "eraser": Axis(r"[a-z]+"),
}
# How latents are ranked, of which a selection keeps the K best → its name in figures.
SELECTIONS = {
    "difference": "mean difference",
    "relative": "relative mean difference",
    "anova": "ANOVA F",
    "correlation": "correlation",
    "l1": "L1 path",
}
# What names a cell in a table: its kind of features, its place in the grid, its kind of probe, its data set.
CELL = ["features", "model", "layer", "width", "pooling", "threshold", "selection", "probe", "data"]


def split_width(width: str) -> tuple[str, str | None]:
    """A width label as width and entry of saes: `16k_topk` → ("16k", "topk"), `16k` → ("16k", None), the model's."""
    latents, _, source = width.partition("_")
    return latents, source or None


def parse_width(width: str) -> int:
    """Number of latents that a width label names.

    `Nk` is the multiple of 1024 whose thousands are N (16k = 16384, 65k = 65536, 131k = 131072), `Nm` the
    multiple of 1024² whose millions are N; a plain number is itself.

    Raises:
        ValueError: no such multiple exists, or no SAE is as wide.
    """
    width = split_width(width)[0]
    number, unit = (int(width[:-1]), width[-1]) if width[-1] in "km" else (int(width), "")
    step, scale = {"": (1, 1), "k": (1024, 1000), "m": (1024**2, 1000**2)}[unit]
    latents = math.ceil(number * scale / step) * step
    if latents // scale != number:
        raise ValueError(f"width {width!r} names no multiple of {step}; write the number of latents out")
    if latents > MOST_LATENTS:
        raise ValueError(f"width {width!r} is over {MOST_LATENTS} latents")
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


def threshold_order(threshold: str) -> tuple[int, float]:
    """Where a threshold stands in figures: none, numbers, quantiles."""
    kind, value = parse_threshold(threshold)
    return ["none", "fixed", "quantile"].index(kind), value or 0.0


def parse_selection(selection: str) -> tuple[str, int | None]:
    """`none` → ("none", None), `anova-64` → ("anova", 64).

    Raises:
        ValueError: anything else.
    """
    if selection == "none":
        return "none", None
    found = re.fullmatch(r"([a-z0-9]+)-([1-9][0-9]*)", selection)
    if not found or found[1] not in SELECTIONS:
        allowed = ", ".join(["none", *(f"{method}-K" for method in SELECTIONS)])
        raise ValueError(f"{selection!r} is no selection; allowed: {allowed}")
    return found[1], int(found[2])
