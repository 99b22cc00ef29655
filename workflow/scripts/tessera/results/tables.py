"""Merge cells into tables, and say which cell is best without looking at a test score."""

import polars as pl

from tessera.base.histograms import quantile
from tessera.results.contestants import CONTESTANTS, roles
from tessera.results.merging import scan
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
        "best": best,
        "classes": per_class(predictions),
        "predictions": predictions.collect(),
        "saes": saes,
        "norms": norms,
        "datasets": datasets,
        "warnings": warning_table(scores, saes, norms, datasets, provenance),
    }


def with_control(scores: pl.DataFrame, controls: dict[str, str]) -> pl.DataFrame:
    """Add the column control: is the model one of re-drawn weights?"""
    control = pl.col("model").is_in(list(controls)).fill_null(False)
    return scores.with_columns(control=control).select(*CELL, "control", pl.exclude([*CELL, "control"]))


def per_class(predictions: pl.LazyFrame) -> pl.DataFrame:
    """Precision, recall, F1 and support of each class in each cell and split."""
    place = [*CELL, "split"]
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


def best_of(scores: pl.DataFrame, condition: pl.Expr) -> pl.DataFrame:
    """Per data set, the cell among those that meet `condition` with the best cv_macro_f1 (inside the training split).

    `cells_searched` says among how many: the more, the luckier the best. Ties go to the first in the table's order.
    """
    cells = scores.filter(condition, split="test").sort("cv_macro_f1", descending=True, maintain_order=True)
    searched = cells.group_by("data").agg(cells_searched=pl.len())
    return cells.unique("data", keep="first", maintain_order=True).select(CELL).join(searched, on="data")


def best_cells(scores: pl.DataFrame) -> pl.DataFrame:
    """Per data set and contestant its best cell, on every test split."""
    chosen = [
        scores.join(best_of(scores, condition), on=CELL, nulls_equal=True).with_columns(contestant=pl.lit(contestant))
        for contestant, condition in CONTESTANTS.items()
    ]
    order = pl.col("contestant").replace_strict(list(CONTESTANTS), range(len(CONTESTANTS)))
    table = pl.concat(chosen).select("data", "contestant", "split", pl.exclude("data", "contestant", "split"))
    return table.sort("data", pl.col("split") != "test", "split", order, maintain_order=True)


def behaviour_table(scores: pl.DataFrame, targets: dict[str, str | None], controls: dict[str, str]) -> pl.DataFrame:
    """What predicts the labels of data sets whose labels are what a model did: the best cells of every contestant.

    Args:
        targets: data set → that model, where it is one of the study.
        controls: model with re-drawn weights → the model that it controls.
    """
    first = {name: pl.String for name in ("data", "target", "role", "contestant")}
    rows = [pl.DataFrame(schema=first | {"cells_searched": pl.UInt32} | scores.schema)]
    for data, target in targets.items():
        for one in roles(scores, target, controls):
            best = best_of(scores.filter(data=data), one.cells)
            about = {"target": pl.lit(target, pl.String), "role": pl.lit(one.role), "contestant": pl.lit(one.name)}
            rows.append(scores.join(best, on=CELL, nulls_equal=True).with_columns(**about))
    return pl.concat(rows, how="diagonal")


def transfer_table(scores: pl.DataFrame, controls: dict[str, str]) -> pl.DataFrame:
    """Every transferred cell, scenario, source and target in front."""
    scores = with_control(scores, controls).drop("data", "selection")
    place = ["scenario", "source", "target", "condition", "fraction"]
    return scores.select(*place, pl.exclude(place))


def best_transfers(scores: pl.DataFrame) -> pl.DataFrame:
    """Per scenario, source and kind of features the cell with the best cv_macro_f1 on the whole training split.

    All its targets, conditions and fractions; `cells_searched` says among how many. Nothing is chosen on the target.
    """
    cell = ["model", "layer", "width", "pooling", "threshold"]
    whole = scores.filter(fraction=1.0).sort("cv_macro_f1", descending=True, maintain_order=True)
    whole = whole.group_by("scenario", "source", "features", "control", maintain_order=True).first()
    chosen = whole.select("scenario", "source", "features", "control", *cell)
    kind = ["scenario", "source", "features", "control"]
    searched = scores.filter(fraction=1.0).select(*kind, *cell).unique().group_by(kind).agg(cells_searched=pl.len())
    chosen = chosen.join(searched, on=kind, maintain_order="left")
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


def data_table(described: dict[str, pl.DataFrame], summaries: list[str]) -> pl.DataFrame:
    """Per data set and split its make-up (see `describe`); per model how many of the data set's texts were cut."""
    parts = [frame.insert_column(0, pl.lit(data).alias("data")) for data, frame in described.items()]
    cut = (
        scan(summaries)
        .unique(["model", "data", "shard"])
        .group_by("model", "data")
        .agg(pl.col("truncated").sum())
        .collect()
        .with_columns(model=pl.lit("truncated_") + pl.col("model"))
        .pivot("model", index="data", values="truncated", sort_columns=True)
    )
    return pl.concat(parts).join(cut, on="data", how="left", maintain_order="left")
