"""Merge cells into tables, and say which cell is best without looking at a test score."""

import polars as pl

from tessera.base.histograms import quantile
from tessera.probes.repeats import combined
from tessera.results.contestants import CONTESTANTS, roles
from tessera.results.merging import scan
from tessera.results.search import SEARCHED, curve, ranked
from tessera.results.warnings import warning_table
from tessera.study.grid import CELL


def of_study(
    scores: pl.DataFrame,
    predictions: pl.LazyFrame,
    saes: pl.DataFrame,
    norms: pl.DataFrame,
    datasets: pl.DataFrame,
    provenance: pl.DataFrame,
) -> dict[str, pl.DataFrame]:
    """What the rule tables writes, table by table: of all cells merged, and of the tables of those names."""
    best = best_cells(scores)
    return {
        "scores": scores,
        "cells": cells_table(scores),
        "best": best,
        "search": search_table(scores),
        "classes": per_class(predictions),
        "predictions": predictions.collect(),
        "saes": saes,
        "norms": norms,
        "datasets": datasets,
        "warnings": warning_table(scores, saes, norms, datasets, provenance),
    }


def with_draws(cells: pl.DataFrame | pl.LazyFrame, drawn: list[list]) -> pl.DataFrame | pl.LazyFrame:
    """Models and widths by their names in the config, and the column draw behind the place of the cell.

    `drawn` holds (model, width, model in the config, width in the config, draw) of what was drawn again.
    """
    names = ("model", "width", "of_model", "of_width", "draw")
    schema = dict.fromkeys(names[:4], pl.String) | {"draw": pl.Int64}
    known = pl.LazyFrame(drawn, schema=schema, orient="row")
    known = known if isinstance(cells, pl.LazyFrame) else known.collect()
    joined = cells.join(known, on=["model", "width"], how="left", nulls_equal=True, maintain_order="left")
    again = pl.col("draw").is_not_null()
    named = joined.with_columns(
        model=pl.when(again).then("of_model").otherwise("model"),
        width=pl.when(again).then("of_width").otherwise("width"),
        draw=pl.col("draw").fill_null(0),
    )
    place = [name for name in CELL if name in cells.collect_schema().names()]
    return named.select(*place, "draw", pl.exclude([*place, "draw", "of_model", "of_width"]))


def with_control(scores: pl.DataFrame, controls: dict[str, str], frozen: list[list]) -> pl.DataFrame:
    """Add the columns control (is the model one of re-drawn weights?) and frozen (as of `with_frozen`)."""
    control = pl.col("model").is_in(list(controls)).fill_null(False)
    about = with_frozen(scores, frozen).with_columns(control=control)
    return about.select(*CELL, "control", "frozen", pl.exclude([*CELL, "control", "frozen"]))


def with_frozen(cells: pl.DataFrame, frozen: list[list]) -> pl.DataFrame:
    """Add the column frozen: what of the SAE stayed random; null of a trained one, and where there is none.

    `frozen` holds (model, width, what) of every frozen SAE.
    """
    known = pl.DataFrame(frozen, schema=dict.fromkeys(("model", "width", "frozen"), pl.String), orient="row")
    return cells.join(known, on=["model", "width"], how="left", maintain_order="left")


def per_class(predictions: pl.LazyFrame) -> pl.DataFrame:
    """Precision, recall, F1 and support of each class in each cell and split."""
    place = [*CELL, "draw", "repeat", "split"]
    hit = pl.col("label") == pl.col("predicted")
    by_label = predictions.group_by([*place, "label"]).agg(support=pl.len(), hits=hit.sum())
    by_prediction = predictions.group_by([*place, "predicted"]).agg(claims=pl.len()).rename({"predicted": "label"})
    joined = by_label.join(by_prediction, on=[*place, "label"], how="full", coalesce=True, nulls_equal=True)
    counts = joined.with_columns(pl.col("support", "hits", "claims").fill_null(0))
    table = counts.select(
        *place,
        pl.col("label").alias("class"),
        precision=pl.col("hits") / pl.col("claims"),
        recall=pl.col("hits") / pl.col("support"),
        f1=2 * pl.col("hits") / (pl.col("support") + pl.col("claims")),
        support="support",
    )
    return table.sort([*place, "class"], nulls_last=True).collect()


def cells_table(scores: pl.DataFrame) -> pl.DataFrame:
    """Every cell on every test split, its repeats and draws as one."""
    by = [*CELL, "control", "frozen", "split"]
    about = scores.group_by(by, maintain_order=True).agg(pl.col("C_at_edge").mean().alias("C_at_edge"))
    return combined(scores, by).join(about, on=by, nulls_equal=True, maintain_order="left")


def best_of(scores: pl.DataFrame, condition: pl.Expr) -> pl.DataFrame:
    """Per data set and repeat, the rows of the cell among those that meet `condition` with the best cv_macro_f1.

    Inside the training split of that repeat, the mean over draws. `cells_searched` says among how many: the more, the
    luckier the best; `chosen` in what share of the repeats the cell that most of them choose is chosen, and the columns
    of the cell name that one. Ties go to the first in the table's order.
    """
    found = []
    for _, cells in scores.filter(condition).group_by("data", maintain_order=True):
        ranking = ranked(cells.filter(split="test"))
        best = pl.DataFrame(
            [(repeat, *order[0]) for repeat, order in ranking.items()],
            schema={name: cells.schema[name] for name in ("repeat", *CELL)},
            orient="row",
        )
        chosen = best.select(CELL).rows()
        cell = max(chosen, key=chosen.count)
        often = chosen.count(cell)
        named = [pl.lit(value, cells.schema[name]).alias(name) for name, value in zip(CELL, cell, strict=True)]
        rows = cells.join(best, on=["repeat", *CELL], nulls_equal=True, maintain_order="left").with_columns(*named)
        rows = rows.with_columns(
            cells_searched=pl.lit(len(ranking[0]), pl.Int64), chosen=pl.lit(often / len(ranking), pl.Float64)
        )
        found.append(rows)
    empty = scores.clear().with_columns(cells_searched=pl.lit(0, pl.Int64), chosen=pl.lit(0.0))
    return pl.concat([empty, *found])


BEST = ["data", "split", *(name for name in CELL if name != "data"), "control", "frozen", "cells_searched", "chosen"]


def best_cells(scores: pl.DataFrame) -> pl.DataFrame:
    """Per data set and contestant its best cell, on every test split."""
    chosen = [
        best_of(scores, condition).with_columns(contestant=pl.lit(contestant))
        for contestant, condition in CONTESTANTS.items()
    ]
    order = pl.col("contestant").replace_strict(list(CONTESTANTS), range(len(CONTESTANTS)))
    table = combined(pl.concat(chosen), ["contestant", *BEST])
    table = table.select("data", "contestant", "split", pl.exclude("data", "contestant", "split"))
    return table.sort("data", pl.col("split") != "test", "split", order, maintain_order=True)


def search_table(scores: pl.DataFrame) -> pl.DataFrame:
    """Per data set and contestant what to expect of the best of k of its cells, for k = 1 … all."""
    tests = scores.filter(split="test")
    rows = [pl.DataFrame(schema={"data": pl.String, "contestant": pl.String} | SEARCHED)]
    for contestant, condition in CONTESTANTS.items():
        for (data,), cells in tests.filter(condition).group_by("data", maintain_order=True):
            rows.append(
                curve(cells).select(pl.lit(data).alias("data"), pl.lit(contestant).alias("contestant"), pl.all())
            )
    return pl.concat(rows).sort("data", maintain_order=True)


def behaviour_table(scores: pl.DataFrame, targets: dict[str, str | None], controls: dict[str, str]) -> pl.DataFrame:
    """What predicts the labels of data sets whose labels are what a model did: the best cells of every contestant.

    Args:
        targets: data set → that model, where it is one of the study.
        controls: model with re-drawn weights → the model that it controls.
    """
    rows = []
    for data, target in targets.items():
        for one in roles(scores, target, controls):
            about = {"target": pl.lit(target, pl.String), "role": pl.lit(one.role), "contestant": pl.lit(one.name)}
            rows.append(best_of(scores.filter(data=data), one.cells).with_columns(**about))
    first = ["data", "target", "role", "contestant", "cells_searched", "chosen"]
    empty = best_of(scores.clear(), pl.lit(True)).with_columns(
        **dict.fromkeys(("target", "role", "contestant"), pl.lit(None, pl.String))
    )
    by = list(dict.fromkeys([*first, *BEST]))
    return combined(pl.concat([empty, *rows]), by)


def transfer_table(scores: pl.DataFrame, controls: dict[str, str], frozen: list[list]) -> pl.DataFrame:
    """Every transferred cell, scenario, source and target in front."""
    scores = with_control(scores, controls, frozen).drop("data", "selection", "probe")
    place = ["scenario", "source", "target", "condition", "fraction", "repeat"]
    return scores.select(*place, pl.exclude(place))


def best_transfers(scores: pl.DataFrame) -> pl.DataFrame:
    """Per scenario, source, kind of features and repeat the cell with the best cv_macro_f1 on the whole training split.

    Frozen SAEs by themselves. All its targets, conditions and fractions; `cells_searched` says among how many. Nothing
    is chosen on the target.
    """
    cell = ["model", "layer", "width", "pooling", "threshold"]
    kind = ["scenario", "source", "features", "control", "frozen", "repeat"]
    whole = scores.filter(fraction=1.0).sort("cv_macro_f1", descending=True, maintain_order=True)
    chosen = whole.group_by(kind, maintain_order=True).first().select(*kind, *cell)
    searched = scores.filter(fraction=1.0).select(*kind, *cell).unique().group_by(kind).agg(cells_searched=pl.len())
    chosen = chosen.join(searched, on=kind, nulls_equal=True, maintain_order="left")
    return scores.join(chosen, on=[*kind, *cell], nulls_equal=True, maintain_order="left")


def sae_table(summaries: list[str], qualities: list[str], published_l0: list[list]) -> pl.DataFrame:
    """Per SAE: L0 on the data sets' pooled tokens; for a trained one its quality on held-out tokens.

    `published_l0` holds (model, layer, width, L0) of published SAEs: a factor over 2 between that and the measured L0,
    the sign of a wrong hook, model or normalisation, is said in the column warning.
    """
    place = ["model", "layer", "width"]
    measured = (
        scan(summaries)
        .filter(pl.col("width").is_not_null())
        .group_by(place)
        .agg(
            pl.col("hook").first(),
            l0_on_data=pl.col("nonzeros").sum() / pl.col("tokens").sum(),
            tokens=pl.col("tokens").sum(),
        )
    )
    if qualities:
        measured = measured.join(scan(qualities), on=place, how="left")
    schema = {"model": pl.String, "layer": pl.Int64, "width": pl.String, "published_l0": pl.Float64}
    published = pl.LazyFrame(published_l0, schema=schema, orient="row")
    factor = pl.col("l0_on_data") / pl.col("published_l0")
    warning = pl.when(~factor.is_between(0.5, 2)).then(pl.lit("L0 is off the published L0 by a factor over 2"))
    return measured.join(published, on=place, how="left").with_columns(warning=warning).sort(place).collect()


def norm_table(summaries: list[str]) -> pl.DataFrame:
    """Per model, layer and data set: quantiles of the norms that shards counted, and the share of massive tokens."""
    place = ["model", "layer", "data"]
    layers = scan(summaries).filter(pl.col("width").is_null()).sort("pass").collect()
    layers = layers.unique([*place, "shard"], keep="first", maintain_order=True)  # the pass of the hidden states
    sums = layers.group_by(place).agg(
        pl.col("hook").first(),
        pl.col("norm_largest").max(),
        pl.col("examples", "massive", "massive_texts", "massive_first", "massive_in_front").sum(),
        pooled=pl.col("tokens").sum(),
    )
    norms = ("norm_bins", "norm_counts")
    counted = layers.explode(norms).group_by(*place, "norm_bins").agg(pl.col("norm_counts").sum())
    quantiles = (
        counted.sort("norm_bins")
        .group_by(place)
        .agg(tokens=pl.col("norm_counts").sum(), median_norm=quantile(0.5, *norms), p99_norm=quantile(0.99, *norms))
    )
    massive = pl.col("massive")
    table = sums.join(quantiles, on=place).select(
        *("model", "layer", "hook", "data", "tokens", "median_norm", "p99_norm"),
        largest_norm="norm_largest",
        massive=massive / pl.col("tokens"),
        massive_texts=pl.col("massive_texts") / pl.col("examples"),
        massive_first=pl.when(massive > 0).then(pl.col("massive_first") / massive),
        massive_in_front=pl.when(massive > 0).then(pl.col("massive_in_front") / massive),
        pooled="pooled",
    )
    return table.sort(place)


def data_table(
    described: dict[str, pl.DataFrame], summaries: list[str], embeddings: list[str] | None = None
) -> pl.DataFrame:
    """Per data set and split its make-up (see `describe`); per model how many of the data set's texts were cut."""
    parts = [frame.insert_column(0, pl.lit(data).alias("data")) for data, frame in described.items()]
    read = [scan(summaries).unique(["model", "data", "shard"])] + ([scan(embeddings)] if embeddings else [])
    cut = (
        pl.concat(frame.group_by("model", "data").agg(pl.col("truncated").sum().cast(pl.Int64)) for frame in read)
        .unique(["model", "data"])  # a model cuts a text for both
        .collect()
        .with_columns(model=pl.lit("truncated_") + pl.col("model"))
        .pivot("model", index="data", values="truncated", sort_columns=True)
    )
    return pl.concat(parts).join(cut, on="data", how="left", maintain_order="left")
