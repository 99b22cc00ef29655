"""A study cut into pieces: what each view of the explorer reads, and no more.

A piece has a name, a few facts (JSON) and frames. `page/*.js` reads them by these names:

- `study`: what is shown first. `grid`: every cell. `table/T`: a table of results.
- `data/D`: the test examples of a data set. `texts/D/B`: their texts or images, `BLOCK` to a piece.
- `cell/C`: what a cell said of each. `weights/C`: its largest weights.
- `place/P`: the evidence at a place. `latent/P/L`: where a latent fires.
- `decisions/P/B`: why the test examples were decided so. `match/M`: latents and their partners.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tessera.examples.examples import read_examples
from tessera.explorer.fits import Said, largest_weights, name_of
from tessera.explorer.images import thumbnails
from tessera.results.catalogue import TABLES
from tessera.results.contestants import CONTESTANTS
from tessera.study.evidence import AXES
from tessera.study.grid import CELL

Piece = tuple[str, dict, dict[str, pl.DataFrame]]
BLOCK = 200  # test examples whose texts, or decisions, are read at once
LIMIT = 20_000  # rows of a table; the parquet file has all
LIKELY = 300  # latents of each class that are listed, those that tell it best
PARTNERS = 2_000  # pairs of matched latents, of the highest correlation
LONGEST = 5_000  # characters of a text
ABOUT_PLACE = ("sufficiency", "stability", "ablations")  # tables of evidence, as they are
OF_PLACE = (*ABOUT_PLACE, "latents", "contexts", "latent_histograms", "decisions", "decision_latents")


def tables_of(tables: dict[str, Path]) -> Iterator[Piece]:
    """A piece per table of plain values; of a long one the first rows."""
    for name, file in tables.items():
        if TABLES[name].csv:
            rows = pl.scan_parquet(file)
            facts = {"about": TABLES[name].about, "row": TABLES[name].row, "rows": count(file)}
            yield f"table/{name}", facts, {"table": rows.head(LIMIT).collect()}


def count(file: Path) -> int:
    """Rows of a parquet file."""
    return pl.scan_parquet(file).select(pl.len()).collect().item()


def grid_of(tables: dict[str, Path]) -> Piece:
    """Every cell with its short name, and the C that its fits chose."""
    by = [*CELL, "split"]
    chosen = pl.scan_parquet(tables["scores"]).group_by(by, maintain_order=True).agg(pl.col("C").unique().sort())
    cells = pl.read_parquet(tables["cells"]).join(chosen.collect(), on=by, how="left", nulls_equal=True)
    return "grid", {}, {"cells": named(cells).with_columns(contestant=contestant())}


def named(cells: pl.DataFrame) -> pl.DataFrame:
    """Cells with the short name of each."""
    return cells.with_columns(name=pl.struct(CELL).map_elements(name_of, return_dtype=pl.String))


def contestant() -> pl.Expr:
    """The contestant that a cell belongs to."""
    found = pl.lit(None, pl.String)
    for title, cells in CONTESTANTS.items():
        found = pl.when(cells).then(pl.lit(title)).otherwise(found)
    return found


def cells_of(tables: dict[str, Path], data: str, examples: str | Path) -> Iterator[Piece]:
    """Of one data set: its test examples, and what each cell said of them."""
    said = Said(tables["predictions"], pl.read_parquet(tables["cells"]), data)
    frame = read_examples(examples)
    asked = frame.filter(pl.col("example").is_in(said.tests["example"].implode()))
    is_image = holds_images(examples)
    shown = pl.lit("") if is_image else pl.col("text").str.slice(0, 90)
    index = asked.select("example", "id", "split", "label", start=shown)
    facts = {"classes": said.classes, "holds": "image" if is_image else "text", "block": BLOCK, "size": len(frame)}
    yield f"data/{data}", facts, {"tests": said.tests, "examples": index}
    for number, start in enumerate(range(0, len(asked), BLOCK)):
        yield f"texts/{data}/{number}", {}, {"examples": contents(asked.slice(start, BLOCK), examples)}
    for cell, fits in said.fits():
        yield f"cell/{name_of(cell)}", {}, {"fits": fits}


def holds_images(examples: str | Path) -> bool:
    return "image" in pl.read_parquet_schema(examples)


def contents(rows: pl.DataFrame, examples: str | Path) -> pl.DataFrame:
    """What some examples hold: texts, cut where they are very long, or small images, read from the examples' file."""
    if not holds_images(examples):
        cut = pl.when(pl.col("text").str.len_chars() > LONGEST).then(pl.lit(" … (cut here)")).otherwise(pl.lit(""))
        return rows.select("example", pl.col("text").str.slice(0, LONGEST) + cut)
    wanted = pl.col("example").is_in(rows["example"].unique().implode())
    images = pl.scan_parquet(examples).filter(wanted).select("example", "image").collect()
    return images.select("example", image=thumbnails(images["image"]))


def evidence_of(tables: dict[str, Path], data: str, examples: str | Path) -> Iterator[Piece]:
    """Of one data set: each place of evidence, each latent shown there, and the decisions on its test examples."""
    shown = pl.read_parquet(tables["shown_latents"]).filter(data=data)
    for place, named in shown.group_by(AXES, maintain_order=True):
        here, name = dict(zip(AXES, place, strict=True)), "/".join(map(str, place))
        found = {table: rows_at(tables[table], here) for table in OF_PLACE if table in tables}
        likely = pl.col("latent").is_in(named["latent"].implode()) | (pl.col("rank_contribution_gap") <= LIKELY)
        decided = found["decisions"].select(pl.col("example").unique().sort())
        frames = {"shown": named.drop(AXES), "decided": decided, "latents": found["latents"].filter(likely)}
        yield f"place/{name}", here, frames | {table: found[table] for table in ABOUT_PLACE if table in found}
        bins = found["latent_histograms"]
        for (latent,), rows in found["contexts"].group_by("latent", maintain_order=True):
            frames = {"contexts": rows.drop("latent"), "histogram": bins.filter(latent=latent)}
            if holds_images(examples):
                frames["images"] = contents(rows, examples)
            yield f"latent/{name}/{latent}", {}, frames
        for number, start in enumerate(range(0, len(decided), BLOCK)):
            block = pl.col("example").is_in(decided["example"].slice(start, BLOCK).implode())
            frames = {"decisions": found["decisions"].filter(block), "latents": found["decision_latents"].filter(block)}
            yield f"decisions/{name}/{number}", {}, frames


def rows_at(file: Path, place: dict[str, str | int]) -> pl.DataFrame:
    """The rows of a table at a place, without the columns that name it."""
    return pl.scan_parquet(file).filter(**place).drop(list(place)).collect()


def matches_of(tables: dict[str, Path]) -> Iterator[Piece]:
    """Per match the latents and their partners of the highest correlation."""
    pairs = pl.scan_parquet(tables["matched_latents"]).sort(pl.col("correlation").abs(), descending=True)
    for (match,), rows in pairs.collect().group_by("match", maintain_order=True):
        yield f"match/{match}", {}, {"pairs": rows.head(PARTNERS)}


def weights_of(tables: dict[str, Path]) -> Iterator[Piece]:
    """The largest weights of each cell of an SAE."""
    for name, weights in largest_weights(tables["coefficients"]).items():
        yield f"weights/{name}", {}, {"weights": weights}


def every_piece(tables: dict[str, Path], examples: dict[str, str]) -> Iterator[Piece]:
    """All pieces of a study but the first; `tables` and `examples` are files by table and by data set."""
    yield from tables_of(tables)
    yield grid_of(tables)
    yield from weights_of(tables)
    for data, file in examples.items():
        yield from cells_of(tables, data, file)
        if "shown_latents" in tables:
            yield from evidence_of(tables, data, file)
    if "matched_latents" in tables:
        yield from matches_of(tables)
