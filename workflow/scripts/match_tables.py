"""Merge every match into tables, each side by its name."""

import polars as pl
from tessera import carried, maps, provenance
from tessera.base.script import job
from tessera.results.merging import scan

SIDES = pl.col("source") == "a"

with job(snakemake) as log:
    names = {
        side: {
            match: "/".join(spec[side][key] for key in ("model", "layer", "width"))
            for match, spec in snakemake.params.matches.items()
        }
        for side in "ab"
    }
    name = {side: pl.col("match").replace_strict(names[side], return_dtype=pl.String) for side in names}

    def merged(part: str) -> pl.DataFrame:
        """One part of every match: its name in front, then what is read, and what reads it."""
        frame = scan(snakemake.input[part]).with_columns(
            source=pl.when(SIDES).then(name["a"]).otherwise(name["b"]),
            target=pl.when(SIDES).then(name["b"]).otherwise(name["a"]),
            of_a=SIDES,
        )
        return frame.select("match", "source", "target", pl.exclude("match", "source", "target")).collect()

    pairs = merged("maps").filter(pl.col("kind").is_in(maps.KINDS))
    latents = {
        side: pl.when(pl.col("of_a") == (side == "a")).then("latent").otherwise("partner").alias(f"latent_{side}")
        for side in "ab"
    }
    kept = ["match", "over", "pooling", "kind", "source", "target"]
    scores = merged("scores").drop("of_a")
    tables = {
        "matches": merged("matches").drop("of_a"),
        "match_scores": scores,
        "match_best": carried.best(scores),
        "match_claims": merged("claims").drop("of_a"),
        "matched_latents": pairs.select(*kept, *latents.values(), "correlation", "scale", "above_null", "tied"),
        "match_histograms": scan(snakemake.input.histograms).collect(),
        "match_predictions": merged("predictions").drop("of_a"),
    }
    facts = provenance.passed_on(snakemake.input.provenance)
    write = provenance.table_writer(dict(snakemake.output.items()), facts)
    for table, frame in tables.items():
        write(table, frame)
    log.info("%d rows of scores", len(scores))
