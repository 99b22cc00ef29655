"""Recovery, where the true directions of the hidden states are known (`models/planting.py`): are latents these?

And are the latents that a probe decides by those of the directions that make the label?
"""

import json
from dataclasses import dataclass

import numpy as np
import polars as pl
from safetensors import SafetensorError, safe_open
from scipy.optimize import linear_sum_assignment

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.evidence.reading import Frames, read_decoder
from tessera.study import paths
from tessera.study.grid import parse_width

RECOVERED = 0.9  # cosine from which on a latent is a direction
DRAWS = 20  # of random latents
PLACE = {"model": pl.String, "layer": pl.Int64, "width": pl.String}
RECOVERY = {"latents": pl.Int64, "directions": pl.Int64} | dict.fromkeys(
    ("mcc", "null_mcc", "null_high", "recovered"), pl.Float64
)
TRUE_LATENTS = {"data": pl.String, "class": pl.String, "direction": pl.Int64, "latent": pl.Int64, "cosine": pl.Float64}
TRUE_LATENTS |= {"rank": pl.Int64, "precision": pl.Float64, "null_precision": pl.Float64}


@dataclass
class Truth:
    """What is known of a model.

    directions_FD: rows that its hidden states are sums of. made_by: data set → class → numbers of the directions whose
    presence in a text makes it one of the class.
    """

    directions_FD: np.ndarray
    made_by: dict[str, dict[str, list[int]]]


def read_truth(path: str) -> Truth:
    """The tensor `directions` [F, D] of a safetensors file, and the JSON under `made_by` of its metadata, if any.

    Raises:
        TesseraError: it holds no such thing.
    """
    try:
        with safe_open(path, "np") as file:
            directions_FD = file.get_tensor("directions").astype(np.float64)
            made_by = json.loads((file.metadata() or {}).get("made_by", "{}"))
        numbers = [number for classes in made_by.values() for some in classes.values() for number in some]
        if directions_FD.ndim != 2 or not all(0 <= number < len(directions_FD) for number in numbers):
            raise ValueError(f"directions are of shape {directions_FD.shape}, made_by names {numbers}")
    except (OSError, SafetensorError, ValueError, AttributeError, TypeError) as error:
        raise TesseraError(f"{path} holds no known directions (config/README.md, key truth): {error}") from error
    return Truth(directions_FD, made_by)


def match(latents_WD: np.ndarray, directions_FD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One latent for each direction, each once, so that the sum of absolute cosines is largest.

    Returns:
        latent_F, -1 of directions that are left over where latents are fewer; cosine_F, its size, 0 of those.
    """
    cosine_FW = np.abs(_unit(directions_FD) @ _unit(latents_WD).T)
    rows, columns = linear_sum_assignment(cosine_FW, maximize=True)
    latent_F, cosine_F = np.full(len(directions_FD), -1), np.zeros(len(directions_FD))
    latent_F[rows], cosine_F[rows] = columns, cosine_FW[rows, columns]
    return latent_F, cosine_F


def _unit(rows_ND: np.ndarray) -> np.ndarray:
    return rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)


def mcc(latents_WD: np.ndarray, directions_FD: np.ndarray) -> float:
    """Mean correlation coefficient: the mean absolute cosine of matched pairs, as many as the fewer of the two are.

    Song et al. 2025 (arXiv 2505.20254), as SAELens has it.
    """
    latent_F, cosine_F = match(latents_WD, directions_FD)
    return float(cosine_F[latent_F >= 0].mean())


def recover(truths: dict[str, str], decoders: list[str], weighed: list[str], seed: int) -> Frames:
    """The tables `recovery`, a row per SAE, and `true_latents`, a row per direction that makes a class.

    Args:
        truths: model → its file. decoders: of SAEs of these models. weighed: the table of latents of each place.

    Raises:
        TesseraError: directions and what latents write are not of one size.
    """
    known = {model: read_truth(path) for model, path in truths.items()}
    recovered, told = [], []
    for file in decoders:
        place = hive.keys(file)
        truth, latents_WD = known[place["model"]], read_decoder(file, parse_width(place["width"]))
        if latents_WD.shape[1] != truth.directions_FD.shape[1]:
            raise TesseraError(
                f"config key models.{place['model']}.truth: its directions have {truth.directions_FD.shape[1]} "
                f"dimensions, the latents of {paths.short_name(file)} {latents_WD.shape[1]}"
            )
        here = {**place, "layer": int(place["layer"])}
        recovered.append(here | recovery(latents_WD, truth.directions_FD, seed))
        matched = match(latents_WD, truth.directions_FD)
        for one in hive.at(weighed, **place):
            data = hive.keys(one)["data"]
            rows = true_latents(truth.made_by.get(data, {}), *matched, pl.read_parquet(one))
            told += [here | {"data": data} | row for row in rows]
    return {
        "recovery": pl.DataFrame(recovered, PLACE | RECOVERY),
        "true_latents": pl.DataFrame(told, PLACE | TRUE_LATENTS),
    }


def recovery(latents_WD: np.ndarray, directions_FD: np.ndarray, seed: int) -> dict[str, float]:
    """How well an SAE has the directions, beside as many random ones: the mean and the largest of the draws."""
    generator = np.random.default_rng([seed, *latents_WD.shape])  # of no stream that a truth may be drawn from
    null = [mcc(generator.standard_normal(latents_WD.shape), directions_FD) for _ in range(DRAWS)]
    return {
        "latents": len(latents_WD),
        "directions": len(directions_FD),
        "mcc": mcc(latents_WD, directions_FD),
        "null_mcc": float(np.mean(null)),
        "null_high": max(null),
        "recovered": float((match(latents_WD, directions_FD)[1] > RECOVERED).mean()),
    }


def true_latents(
    made_by: dict[str, list[int]], latent_F: np.ndarray, cosine_F: np.ndarray, weighed: pl.DataFrame
) -> list[dict]:
    """Where the latents that match the directions of each class stand among those that a probe decides by.

    Args:
        made_by: class → directions. latent_F, cosine_F: see `match`. weighed: the table of latents of the place.
    """
    found = []
    for name, directions in made_by.items():
        of_class = weighed.filter(pl.col("class") == name)
        order = of_class.filter(pl.col("weight") > 0).sort("rank_contribution_gap")["latent"].to_list()
        true = latent_F[directions]
        top = {
            "precision": float(np.isin(order[: len(directions)], true).sum() / len(directions)),
            "null_precision": min(1.0, len(directions) / max(1, len(of_class))),
        }
        for direction, latent in zip(directions, true.tolist(), strict=True):
            found.append(
                {
                    "class": name,
                    "direction": direction,
                    "latent": latent if latent >= 0 else None,
                    "cosine": float(cosine_F[direction]),
                    "rank": order.index(latent) + 1 if latent in order else None,
                    **top,
                }
            )
    return found
