"""Maps between the latents of two SAEs: which latent of B stands for which of A, at which scale, and the controls.

A map is found on unlabelled training texts; a probe of A then reads B's features as if they were A's.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.matching import correlation
from tessera.matching.correlation import Moments, correlate
from tessera.study.grid import BEFORE_ANSWER
from tessera.study.untrained import DRAWS

logger = logging.getLogger("tessera")
SHUFFLES, CHEAP = 3, 2**24  # shuffles behind a null; one alone where there are more pairs of latents
DIRECTIONS_AT_ONCE = 1024
BINS = np.linspace(0, 1, 41)
DRAWN = ("random", "directions")  # controls, drawn several times
MATCHED = ("one_to_one", "best_match")  # the other pairings are controls, or the identity
# Pooled hidden states that random directions are taken of: else the mean. Directions of the mean carry a probe better
# than those of the maximum, also after pooling latents by their maximum: the stronger control.
HIDDEN_POOLING = {"last": "last", BEFORE_ANSWER: BEFORE_ANSWER}
SCHEMA = {
    "source": pl.String,  # a: a's latents, read from b's; b: the reverse
    "over": pl.String,
    "pooling": pl.String,
    "pairing": pl.String,
    "draw": pl.Int64,
    "latent": pl.Int64,
    "partner": pl.Int64,
    "correlation": pl.Float64,
    "scale": pl.Float64,
    "tau": pl.Float64,  # of a direction
    "above_null": pl.Boolean,
    "tied": pl.Boolean,
}


@dataclass
class Map:
    """Latents [K] of the source, each read from `partner_K` of the target times `scale_K`; the others are silent."""

    latent_K: np.ndarray
    partner_K: np.ndarray
    scale_K: np.ndarray
    tau_K: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Map":
        return cls(*(rows[name].to_numpy() for name in ("latent", "partner", "scale", "tau")))

    def apply(self, target_EV: sp.csr_array, width: int) -> sp.csr_array:
        """The target's features as the source's [E, width], float32."""
        shape = (target_EV.shape[1], width)
        moved_VW = sp.csr_array((self.scale_K, (self.partner_K, self.latent_K)), shape=shape)
        return sp.csr_array(sp.csr_array(target_EV, dtype=np.float64) @ moved_VW, dtype=np.float32)

    def apply_directions(self, hidden_ED: np.ndarray, weights_DV: np.ndarray, width: int) -> sp.csr_array:
        """The target's random directions as the source's latents [E, width], float32."""
        above_EK = np.maximum(hidden_ED @ weights_DV[:, self.partner_K] - self.tau_K, 0) * self.scale_K
        found = sp.csr_array(above_EK.astype(np.float32)).tocoo()
        return sp.csr_array((found.data, (found.row, self.latent_K[found.col])), shape=(len(hidden_ED), width))


def draw_directions(d: int, width: int, seed: int, side: str, draw: int) -> np.ndarray:
    """Random directions [d, width] of a side's hidden states, the same wherever they are asked for."""
    generator = np.random.default_rng([seed, ord(side), draw])
    return generator.standard_normal((d, width), dtype=np.float32) / np.float32(d**0.5)


def directions(hidden_ED: np.ndarray, weights_DW: np.ndarray, active_W: np.ndarray) -> tuple[sp.csr_array, np.ndarray]:
    """Random directions of pooled hidden states, each ReLU'd where it is active as often as a latent; their thresholds.

    `active_W` says on how many rows each is to be active. Random-weight SAEs on the same inputs correlate too: what
    learned latents transfer must beat what these do.
    """
    parts, tau_W = [], np.empty(len(active_W))
    for start in range(0, len(active_W), DIRECTIONS_AT_ONCE):
        block = slice(start, start + DIRECTIONS_AT_ONCE)
        value_EB = hidden_ED @ weights_DW[:, block]
        ranked_EB = np.sort(value_EB, axis=0)
        silent_B = len(value_EB) - active_W[block]
        everywhere_B = ranked_EB[0] - np.abs(ranked_EB[0]) * 1e-3 - 1e-6
        at_B = ranked_EB[np.maximum(silent_B, 1) - 1, np.arange(ranked_EB.shape[1])]
        tau_W[block] = np.where(silent_B > 0, at_B, everywhere_B)
        parts.append(sp.csr_array(np.maximum(value_EB - tau_W[block], 0).astype(np.float32)))
    return sp.hstack(parts, format="csr"), tau_W


@dataclass
class Sides:
    """What a match is found on, of the SAEs a and b: the same unlabelled texts in the same order."""

    features: dict[str, dict[str, sp.csr_array]]  # pooling → side → [E, W]
    hidden: dict[str, dict[str, np.ndarray]]  # pooling of hidden states → side → [E, d]
    tokens: dict[str, sp.csr_array] | None  # side → [N, W], where both models read the texts as the same tokens
    same: bool  # both sides have the same SAE: latent i is latent i
    seed: int


def find(sides: Sides) -> dict[str, pl.DataFrame]:
    """Every map between two SAEs, in both directions, with its controls.

    Returns pairings: a row per source, over, pooling, pairing, draw and latent (see SCHEMA); matches: what each match
    came to; histograms: matched correlations, shuffled ones, and those of random directions.
    """
    maps, matches, histograms = [], [], []
    over_tokens = sides.tokens and _match(sides.tokens["a"], sides.tokens["b"], sides.seed, shift=True)
    if over_tokens:
        matches += [{"over": "tokens", "pooling": None, **row} for row in over_tokens.rows]
        histograms += _histograms("tokens", None, over_tokens)
    for pooling, features in sides.features.items():
        moments = {side: Moments.of(acts) for side, acts in features.items()}
        found = {"examples": _match(features["a"], features["b"], sides.seed, shift=False)}
        if over_tokens:
            found["tokens"] = over_tokens
        controls = list(_controls(sides, pooling, moments))
        controlled = [frame.filter(pairing="directions")["correlation"] for frame in controls]
        for over, match in found.items():
            maps += [_scaled(frame, moments).with_columns(over=pl.lit(over)) for frame in match.maps]
        matches += [{"over": "examples", "pooling": pooling, **row} for row in found["examples"].rows]
        directed = pl.concat([pl.Series("correlation", [], pl.Float64), *controlled])
        histograms += _histograms("examples", pooling, found["examples"], directions=directed)
        maps += controls
        if sides.same:
            maps += [_identity(source, len(moments["a"].sd_W)) for source in "ab"]
        place = {"pooling": pl.lit(pooling)}
        maps = [frame if "pooling" in frame.columns else frame.with_columns(**place) for frame in maps]
    empty = pl.DataFrame(schema=SCHEMA)
    whole = pl.concat([empty, *(frame.cast({k: SCHEMA[k] for k in frame.columns}) for frame in maps)], how="diagonal")
    for row in matches:
        logger.info("%(pairing)s, over %(over)s, %(pooling)s: %(matched)d of %(latents)d, %(mean_correlation)s", row)
    return {
        "pairings": whole,
        "matches": pl.DataFrame(matches, infer_schema_length=None),
        "histograms": pl.concat(histograms),
    }


def random_maps(features: dict[str, sp.csr_array], *, same: bool) -> dict[tuple[str, str | None], dict[str, Map]]:
    """The maps between two random SAEs, by pairing and over as in `found_pairings`: source → map.

    features: side → [E, W].
    One to one over examples, and, where the two are the `same`, latent by latent.
    """
    moments = {side: Moments.of(acts) for side, acts in features.items()}
    pairs = correlation.one_to_one(correlate(features["a"], features["b"]))
    found = {}
    for source, (partner_W, _) in {"a": pairs, "b": correlation.inverse(*pairs, features["b"].shape[1])}.items():
        latent = np.flatnonzero(partner_W >= 0)
        frame = pl.DataFrame({"source": source, "latent": latent, "partner": partner_W[latent], "tau": None})
        found[source] = Map.of(_scaled(frame, moments))
    maps = {("one_to_one", "examples"): found}
    if same:
        whole = {source: _identity(source, features[source].shape[1]) for source in "ab"}
        maps["identity", None] = {source: Map.of(frame.with_columns(tau=None)) for source, frame in whole.items()}
    return maps


def found_pairings(pairings: pl.DataFrame) -> list[tuple[str, str | None]]:
    """Every (pairing, over) of a match: over examples always, over tokens where a latent found a partner there."""
    tokens = [(matched, "tokens") for matched in MATCHED if "tokens" in pairings["over"]]
    same = [("identity", None)] if "identity" in pairings["pairing"] else []
    return [*((pairing, "examples") for pairing in MATCHED), *tokens, *((drawn, "examples") for drawn in DRAWN), *same]


@dataclass
class _Match:
    maps: list[pl.DataFrame]  # of one_to_one and best_match, in both directions, without scales
    rows: list[dict]
    null: np.ndarray  # one-to-one correlations of shuffled rows


def _match(acts_NV: sp.csr_array, acts_NW: sp.csr_array, seed: int, *, shift: bool) -> _Match:
    """Match over the rows as they are, and over shuffled ones.

    With `shift`, rows are not shuffled but all moved on by a random number: the tokens of a text stay together, which
    alone lets latents of a topic correlate.
    """
    rows, V, W = acts_NV.shape[0], acts_NV.shape[1], acts_NW.shape[1]
    found, generator = correlate(acts_NV, acts_NW), np.random.default_rng(seed)
    null: dict[tuple, list[np.ndarray]] = {(pairing, side): [] for pairing in MATCHED for side in "ab"}
    shown = []
    for _ in range(SHUFFLES if V * W <= CHEAP else 1):
        offset = generator.integers(rows // 4, rows - rows // 4 + 1)
        order = np.roll(np.arange(rows), offset) if shift else generator.permutation(rows)
        chance = correlate(acts_NV, acts_NW[order])
        pairs = correlation.one_to_one(chance)
        shown.append(pairs[1][pairs[0] >= 0])
        null["one_to_one", "a"].append(pairs[1])
        null["one_to_one", "b"].append(correlation.inverse(*pairs, W)[1])
        null["best_match", "a"].append(chance.of_best_V)
        null["best_match", "b"].append(chance.of_best_W)
    pairs = correlation.one_to_one(found)
    partners = {
        ("one_to_one", "a"): (*pairs, found.tied_V),
        ("one_to_one", "b"): (*correlation.inverse(*pairs, W), found.tied_W),
        ("best_match", "a"): (found.best_V, found.of_best_V, found.tied_V),
        ("best_match", "b"): (found.best_W, found.of_best_W, found.tied_W),
    }
    moments = {"a": Moments.of(acts_NV), "b": Moments.of(acts_NW)}
    columns = np.flatnonzero(pairs[0] >= 0)
    scale_K = moments["a"].sd_W[columns] / moments["b"].sd_W[pairs[0][columns]]
    moved_NK = sp.csr_array(acts_NW[:, pairs[0][columns]] @ sp.diags_array(scale_K))
    similar = correlation.svcca(acts_NV[:, columns], moved_NK, seed)
    maps, about = [], []
    for (pairing, side), (partner_W, r_W, tied_W) in partners.items():
        above_W = correlation.above_null(r_W, np.array(null[pairing, side]), moments[side].active_W)
        latent = np.flatnonzero(partner_W >= 0)
        columns = {"latent": latent, "partner": partner_W[latent], "correlation": r_W[latent]}
        columns |= {"above_null": above_W[latent], "tied": tied_W[latent]}
        maps.append(pl.DataFrame(columns).with_columns(source=pl.lit(side), pairing=pl.lit(pairing)))
        about.append(
            {
                "pairing": pairing,
                "source": side,
                "rows": rows,
                "latents": len(r_W),
                "silent": int((~moments[side].varies_W).sum()),  # silent, or constant: never matched
                "matched": len(latent),
                "mean_correlation": float(r_W[latent].mean()) if len(latent) else None,
                "median_correlation": float(np.median(r_W[latent])) if len(latent) else None,
                "above_null": float(above_W[latent].mean()) if len(latent) else None,
                "tied": int(tied_W[latent].sum()),
                "itself": float((partner_W[latent] == latent).mean()) if len(latent) else None,
                **(similar if pairing == "one_to_one" else dict.fromkeys(similar)),
            }
        )
    return _Match(maps, about, np.concatenate(shown))


def _scaled(frame: pl.DataFrame, moments: dict[str, Moments]) -> pl.DataFrame:
    """With the scale that gives a partner the standard deviation of the latent; pairs that lack one are left out."""
    source = frame["source"][0] if len(frame) else "a"
    sd_W, sd_V = moments[source].sd_W, moments["b" if source == "a" else "a"].sd_W
    own_K, partner_K = sd_W[frame["latent"].to_numpy()], sd_V[frame["partner"].to_numpy()]
    varies_K = (own_K > 0) & (partner_K > 0)
    scaled = frame.with_columns(scale=np.divide(own_K, partner_K, out=np.zeros(len(own_K)), where=varies_K))
    return scaled.filter(pl.Series(varies_K))


def _controls(sides: Sides, pooling: str, moments: dict[str, Moments]) -> Iterator[pl.DataFrame]:
    """Per draw: a random one-to-one match of latents that vary, and random directions matched as the latents are."""
    hidden = sides.hidden[HIDDEN_POOLING.get(pooling, "mean")]
    varies = {side: np.flatnonzero(moments[side].varies_W) for side in "ab"}
    for draw in range(DRAWS):
        generator = np.random.default_rng([sides.seed, draw])
        size = min(map(len, varies.values()))
        pairs = {side: generator.permutation(latents)[:size] for side, latents in varies.items()}
        for source, target in ("ab", "ba"):
            random = pl.DataFrame({"latent": pairs[source], "partner": pairs[target]}).sort("latent")
            random = random.with_columns(correlation=pl.lit(None, pl.Float64))
            yield _scaled(random.with_columns(source=pl.lit(source)), moments).with_columns(
                pairing=pl.lit("random"), draw=pl.lit(draw), over=pl.lit("examples"), pooling=pl.lit(pooling)
            )
            width = len(moments[target].sd_W)
            weights_DW = draw_directions(hidden[target].shape[1], width, sides.seed, target, draw)
            drawn_EW, tau_W = directions(hidden[target], weights_DW, moments[target].active_W)
            partner_W, r_W = correlation.one_to_one(correlate(sides.features[pooling][source], drawn_EW))
            latent = np.flatnonzero(partner_W >= 0)
            matched = {"latent": latent, "partner": partner_W[latent], "correlation": r_W[latent]}
            frame = pl.DataFrame(matched | {"tau": tau_W[partner_W[latent]]}).with_columns(source=pl.lit(source))
            yield _scaled(frame, moments | {target: Moments.of(drawn_EW)}).with_columns(
                pairing=pl.lit("directions"), draw=pl.lit(draw), over=pl.lit("examples"), pooling=pl.lit(pooling)
            )


def _identity(source: str, width: int) -> pl.DataFrame:
    latents = np.arange(width)
    frame = pl.DataFrame({"latent": latents, "partner": latents, "scale": np.ones(width)})
    return frame.with_columns(source=pl.lit(source), pairing=pl.lit("identity"))


def _histograms(over: str, pooling: str | None, match: _Match, **more: pl.Series) -> list[pl.DataFrame]:
    shown = {"one_to_one": match.maps[0]["correlation"], "shuffled": pl.Series(match.null), **more}
    place = {"over": pl.lit(over), "pooling": pl.lit(pooling, pl.String)}
    return [
        pl.DataFrame(
            {"low": BINS[:-1], "high": BINS[1:], "latents": np.histogram(values.to_numpy(), BINS)[0]}
        ).with_columns(**place, of=pl.lit(of))
        for of, values in shown.items()
    ]
