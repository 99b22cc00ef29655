"""What the page shows first: the question, the claims, what to doubt, the best cells; and what there is to look at."""

from pathlib import Path

import polars as pl

from tessera.explorer.pieces import LIKELY, count, named
from tessera.features.pooling import pooling_order
from tessera.features.registry import KINDS
from tessera.probes.verdicts import OVERLAP, quantile
from tessera.report.colours import COLOURS
from tessera.results.catalogue import METRICS, TABLES
from tessera.results.columns import meaning
from tessera.results.contestants import CONTESTANTS
from tessera.results.entries import per_place
from tessera.study.evidence import AXES
from tessera.study.grid import CELL, parse_width, threshold_order
from tessera.study.saes import SIDES
from tessera.study.study import Study

FREEDOMS = (
    *range(1, 31),
    35,
    40,
    50,
    60,
    80,
    100,
    150,
    200,
    500,
    1000,
    10_000,
    1e12,
)  # between them 1/freedom is linear
SORTED = {"layer": int, "width": parse_width, "pooling": pooling_order, "threshold": threshold_order}


def summary(study: Study, tables: dict[str, Path]) -> tuple[dict, dict[str, pl.DataFrame]]:
    """Facts and frames of the first piece."""
    cells = pl.read_parquet(tables["cells"])
    of_models = cells.filter(pl.col("model").is_not_null())
    best = named(pl.read_parquet(tables["best"]))
    metrics = [name for name in METRICS if not name.endswith(("_low", "_high"))]
    places = ["/".join(map(str, place.values())) for place in per_place(study)]
    views = {
        "overview": True,
        "grid": True,
        "latents": bool(places),
        "examples": True,
        "compare": True,
        "transfer": bool(study.transfers or study.matches),
        "tables": True,
    }
    facts = {
        "question": question(study),
        "counts": counts(study, cells),
        "origin": origin(pl.read_parquet(tables["provenance"])),
        "views": [view for view, there in views.items() if there],
        "axes": {axis: sorted(of_models[axis].drop_nulls().unique().to_list(), key=key) for axis, key in SORTED.items()}
        | {"model": list(study.models), "data": list(study.datasets)},
        "cell": CELL,
        "kinds": list(KINDS),
        "contestants": list(CONTESTANTS),
        "metrics": [*metrics, "cv_macro_f1", "density"],
        "datasets": list(study.datasets),
        "places": places,
        "scenarios": list(study.transfers),
        "matches": list(study.matches),
        "sides": {
            match: ["/".join(str(one[side][axis]) for axis in AXES[:3]) for side in SIDES]
            for match, one in study.matches.items()
        },
        "tables": [
            {"name": name, "row": TABLES[name].row, "rows": count(file)}
            for name, file in tables.items()
            if TABLES[name].csv
        ],
        "meanings": {column: meaning(column) for name in tables for column in TABLES[name].columns},
        "likely": LIKELY,
        "colours": COLOURS,
        "overlap": OVERLAP,
        "reaches": [[freedom, quantile(0.95, freedom)] for freedom in FREEDOMS],
        "blur": study.explorer["blur"],
    }
    frames = {
        "claims": pl.read_parquet(tables["claims"]),
        "warnings": pl.read_parquet(tables["warnings"]),
        "best": best,
    }
    return facts, frames


def question(study: Study) -> str:
    """What the study asks, in one sentence."""
    trained = {cell["model"]: None for cell in study.sae_cells() if cell["model"] not in study.controls}
    models = [*trained] or [model for model in study.models if model not in study.controls]
    return (
        f"Which SAE features of {listed(models)} classify {listed(list(study.datasets))} best, and do they beat hidden "
        "states and bag-of-words?"
    )


def listed(names: list[str], most: int = 6) -> str:
    """a, b and c; of many the first, and how many more."""
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def counts(study: Study, cells: pl.DataFrame) -> str:
    tests = cells.filter(split="test").group_by("data").agg(pl.col("examples").max())["examples"].sum()
    numbers = (
        (len(study.models) - len(study.controls), "model", "models"),
        (len(study.controls), "model of re-drawn weights", "models of re-drawn weights"),
        (len(study.datasets), "data set", "data sets"),
        (cells.filter(split="test").height, "cell", "cells"),
        (tests, "test example", "test examples"),
        (study.repeats, "repeat", "repeats"),
    )
    return ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in numbers) + "."


def origin(provenance: pl.DataFrame) -> str:
    """The code and the config, in one line."""
    rows = provenance.filter(pl.col("kind").is_in(["code", "config"])).iter_rows()
    return "; ".join(f"{kind} {name} ({item}): {value}" for kind, name, item, value in rows) + "."
