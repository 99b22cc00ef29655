"""The tables of matches: every match in one, each side by its name."""

import polars as pl

from tessera.matching import carry
from tessera.matching.pairings import MATCHED
from tessera.results.merging import scan
from tessera.study.saes import SIDES

OF_A = pl.col("source") == "a"  # a's latents, or probes, read from b


def match_tables(parts: dict[str, list[str]], matches: dict[str, dict]) -> dict[str, pl.DataFrame]:
    """Name → table, from the files of every part of every match, and what the config says of them."""
    names = {
        side: {
            match: "/".join(spec[side][key] for key in ("model", "layer", "width")) for match, spec in matches.items()
        }
        for side in SIDES
    }
    name = {side: pl.col("match").replace_strict(names[side], return_dtype=pl.String) for side in SIDES}

    def merged(part: str) -> pl.DataFrame:
        """One part of every match: its name in front, then what is read, and what reads it."""
        frame = scan(parts[part]).with_columns(
            source=pl.when(OF_A).then(name["a"]).otherwise(name["b"]),
            target=pl.when(OF_A).then(name["b"]).otherwise(name["a"]),
            of_a=OF_A,
        )
        return frame.select("match", "source", "target", pl.exclude("match", "source", "target")).collect()

    pairs = merged("pairings").filter(pl.col("pairing").is_in(MATCHED))
    latents = {
        side: pl.when(pl.col("of_a") == (side == "a")).then("latent").otherwise("partner").alias(f"latent_{side}")
        for side in SIDES
    }
    kept = ["match", "over", "pooling", "pairing", "source", "target"]
    scores = merged("scores").drop("of_a")
    return {
        "matches": merged("matches").drop("of_a"),
        "match_scores": scores,
        "match_best": carry.best(scores),
        "match_claims": merged("claims").drop("of_a"),
        "matched_latents": pairs.select(*kept, *latents.values(), "correlation", "scale", "above_null", "tied"),
        "match_histograms": scan(parts["histograms"]).collect(),
        "match_predictions": merged("predictions").drop("of_a"),
    }
