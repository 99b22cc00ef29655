"""Merge cells into tables, and say which cell is best without looking at a test score."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tessera.metrics import confusion_scores, resample_weights, with_interval

# Every key that stands in a path, with its type; a cell of a stage has some of them.
HIVE = {
    "model": pl.String,
    "layer": pl.Int64,
    "width": pl.String,
    "data": pl.String,
    "pooling": pl.String,
    "threshold": pl.String,
    "unit": pl.String,
    "pass": pl.Int64,
    "shard": pl.Int64,
    "scenario": pl.String,
    "source": pl.String,
}
CELL = ["features", "model", "layer", "width", "pooling", "threshold", "data"]


def scan(files: Iterable[str | Path]) -> pl.LazyFrame:
    """Files of one stage as one table, the keys of their paths as columns."""
    files = [str(file) for file in files]
    keys = [part.split("=")[0] for part in Path(files[0]).parts if "=" in part]
    return pl.scan_parquet(files, hive_partitioning=True, hive_schema={key: HIVE[key] for key in keys})


def merge_cells(parts: dict[str, list[str]]) -> pl.LazyFrame:
    """One part (scores, predictions or coefficients) of every cell, its place in the grid in front.

    `parts` maps sae, hidden and tfidf to the files of their cells.
    """
    kinds = []
    for kind, files in parts.items():
        if files:
            frame = scan(files).with_columns(features=pl.lit(kind))
            kinds.append(frame.rename({"unit": "pooling"}) if kind == "tfidf" else frame)
    place = pl.LazyFrame(schema={key: HIVE.get(key, pl.String) for key in CELL})
    merged = pl.concat([place, *kinds], how="diagonal")
    return merged.select(*CELL, pl.exclude(CELL)).sort(CELL, maintain_order=True, nulls_last=True)


def merge_in_parts(files: list[str], size: int = 100) -> Iterator[pl.DataFrame]:
    """What `merge_cells` makes of SAE cells' `files`, some cells at a time: for parts that together fill the memory."""
    ordered = sorted(files, key=_place)
    for start in range(0, max(1, len(ordered)), size):
        yield merge_cells({"sae": ordered[start : start + size]}).collect()


def _place(file: str) -> tuple:
    """Where a cell's file stands in the order of CELL."""
    keys = dict(part.split("=", 1) for part in Path(file).parts if "=" in part)
    return tuple(int(keys[key]) if HIVE[key] == pl.Int64 else keys[key] for key in CELL if key in keys)


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


CONTESTANTS = {
    "SAE": (pl.col("features") == "sae") & ~pl.col("control"),
    "hidden states": (pl.col("features") == "hidden") & ~pl.col("control"),
    "TF-IDF": pl.col("features") == "tfidf",
    "random SAE": (pl.col("features") == "sae") & pl.col("control"),
    "random hidden": (pl.col("features") == "hidden") & pl.col("control"),
}


def best_cells(scores: pl.DataFrame) -> pl.DataFrame:
    """Per data set and contestant, the cell with the best cv_macro_f1 (from inside the training split), all splits.

    `cells_searched` says among how many: the more, the luckier the best.

    Ties go to the first cell in the order of the table.
    """
    chosen = []
    for contestant, condition in CONTESTANTS.items():
        cells = scores.filter(condition, split="test").sort("cv_macro_f1", descending=True, maintain_order=True)
        searched = cells.group_by("data").agg(cells_searched=pl.len())
        best = cells.unique("data", keep="first", maintain_order=True).select(CELL)
        rows = scores.join(best, on=CELL, nulls_equal=True).join(searched, on="data")
        chosen.append(rows.with_columns(contestant=pl.lit(contestant)))
    order = pl.col("contestant").replace_strict(list(CONTESTANTS), range(len(CONTESTANTS)))
    table = pl.concat(chosen).select("data", "contestant", "split", pl.exclude("data", "contestant", "split"))
    return table.sort("data", pl.col("split") != "test", "split", order, maintain_order=True)


def compare(best: pl.DataFrame, predictions: pl.LazyFrame, *, resamples: int, seed: int) -> pl.DataFrame:
    """Best SAE cell minus each other contestant's best cell: macro F1 on the same test examples, paired bootstrap.

    `holds` says that the whole 95 % interval lies above zero, `fails` below; else the data leave it `undecided`.
    """
    cells = best.select("contestant", *CELL).unique(maintain_order=True)
    answers = predictions.join(cells.lazy(), on=CELL, nulls_equal=True).collect()
    rows = []
    for (data, split), group in best.group_by("data", "split", maintain_order=True):
        found = {
            name: answers.filter(data=data, split=split, contestant=name).sort("example")
            for name in group["contestant"].to_list()
        }
        sae = found.pop("SAE", None)
        for name, other in found.items() if sae is not None else ():
            values_B = _macro_f1(sae, resamples, seed) - _macro_f1(other, resamples, seed)
            interval = with_interval("difference", values_B)
            low, high = interval["difference_low"], interval["difference_high"]
            verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
            rows.append({"data": data, "split": split, "claim": f"SAE > {name}", **interval, "verdict": verdict})
    return pl.DataFrame(rows, schema=None if rows else ["data", "split", "claim", "difference", "verdict"])


def _macro_f1(answers: pl.DataFrame, resamples: int, seed: int) -> np.ndarray:
    names = sorted({*answers["label"], *answers["predicted"]})
    label_E, predicted_E = (
        answers[column].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
        for column in ("label", "predicted")
    )
    weights_BE = resample_weights(answers["group"].to_numpy(), resamples, seed)
    return confusion_scores(label_E, predicted_E, len(names), weights_BE)[0]


def sae_table(summaries: list[str], qualities: list[str], published_l0: list[list]) -> pl.DataFrame:
    """Per SAE: L0 on the data sets' content tokens; for a trained one its quality on held-out tokens.

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


def data_table(described: pl.DataFrame, summaries: list[str]) -> pl.DataFrame:
    """Per data set and split its make-up; per model how many of the data set's texts were cut."""
    cut = (
        scan(summaries)
        .unique(["model", "data", "shard"])
        .group_by("model", "data")
        .agg(pl.col("truncated").sum())
        .collect()
        .with_columns(model=pl.lit("truncated_") + pl.col("model"))
        .pivot("model", index="data", values="truncated", sort_columns=True)
    )
    return described.join(cut, on="data", how="left", maintain_order="left")
