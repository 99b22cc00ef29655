"""What a reader of a study should doubt, counted: one row per kind of doubt and place."""

import polars as pl

from tessera.features.registry import KINDS, kind
from tessera.probes.registry import LOGISTIC
from tessera.study.grid import parse_width

SATURATED = 0.9  # share of nonzero entries above which a feature matrix says little
# Shares up to which the tables alone say what is handled, or changes little: of texts and latents, of repeated texts,
# of massive tokens.
NEGLIGIBLE, SOME, RARE = 0.05, 0.1, 0.01
MOSTLY = "C at the edge of its grid"  # by chance some of many fits end there
NAMED = 3  # places that a row names; it counts all
# In the order of the table: what a reader should do about it.
ADVICE = {
    "activations of different origin": "weights or libraries changed between shards: delete results/activations and "
    "run again",
    "L0 off the published one": "by a factor over 2, the sign of a wrong hook, model or normalisation: do not trust "
    "these SAEs' cells",
    "leakage": "test texts that the training split holds too: scores on them are too high",
    "near-duplicates in training": "test texts that the training split nearly holds (case, punctuation, a template): "
    "scores on them are too high, intervals too narrow; say group: auto in the data set's entry",
    "labels alike": "labels that differ in case or spaces alone are two classes: spell them one way, if one is meant",
    "texts with two labels": "equal texts that are labelled differently: no probe can get all of them right",
    "repeated texts": "they stand on one side of the split and move together in the bootstrap; the data set is smaller "
    "than it looks",
    "truncated examples": "texts cut at max_tokens of the model: what follows was not read",
    "massive tokens": "the model parks attention on them: left out of SAE training, and of pooling unless pool_massive "
    "says otherwise; where most are the first of their text, leave prepend_bos at auto",
    "saturated feature matrices": f"density over {SATURATED}: nearly every latent is on in nearly every text; raise "
    "the threshold or take a quantile",
    "empty feature matrices": "no latent is on in any training text: such a probe guesses",
    "probes that did not converge": "their scores depend on where the solver stopped",
    MOSTLY: "a longer list under probe.C may score better",
    "drawn once": "the luck of this draw is in every claim about it, and in no interval: give it draws: 3",
    "dead latents": "they fire on no held-out token: give the SAE more tokens or steps, or fewer latents",
    "dense latents": "they fire on over half of the held-out tokens and tell few apart: give the SAE more tokens or "
    "steps, or a smaller k",
}


def warning_table(
    scores: pl.DataFrame, saes: pl.DataFrame, norms: pl.DataFrame, datasets: pl.DataFrame, provenance: pl.DataFrame
) -> pl.DataFrame:
    """A row per warning and place: how many (`count`) of how many (`of`), the first few (`such_as`), and advice.

    The arguments are the tables of those names.
    """
    cells = scores.filter(split="test")
    rows = [*_origins(provenance), *_of_data(datasets), *_of_tokens(norms), *_of_cells(cells), *_of_saes(saes)]
    rows += _drawn_once(cells, saes)
    schema = {"warning": pl.String, "where": pl.String, "count": pl.Int64, "of": pl.Int64, "such_as": pl.String}
    table = pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("count") > 0)
    order = pl.col("warning").replace_strict(list(ADVICE), range(len(ADVICE)), return_dtype=pl.Int64)
    return table.sort(order, maintain_order=True).with_columns(
        advice=pl.col("warning").replace_strict(list(ADVICE), list(ADVICE.values()), return_dtype=pl.String)
    )


def _origins(provenance: pl.DataFrame) -> list[tuple]:
    """Facts of which a study has several values: its parts were computed from different things.

    Not the commit: what changes a result raises the version of its stage, and is computed anew.
    """
    values = (
        provenance.filter(pl.col("kind") != "code").group_by("kind", "name", "item", maintain_order=True).agg("value")
    )
    several = values.filter(pl.col("value").list.len() > 1)
    return [
        ("activations of different origin", f"{what} {name}, {item}", len(values), None, _named(values))
        for what, name, item, values in several.iter_rows()
    ]


def _of_data(datasets: pl.DataFrame) -> list[tuple]:
    rows = []
    for split in datasets.iter_rows(named=True):
        where, size = f"{split['data']}, split {split['split']}", split["examples"]
        rows.append(("leakage", where, split["texts_in_training"], size, None))
        if split["near_in_training"] > NEGLIGIBLE * size:
            rows.append(("near-duplicates in training", where, split["near_in_training"], size, None))
        rows.append(("texts with two labels", where, split["texts_of_two_labels"], size, None))
        if split["repeated_texts"] > SOME * size:
            rows.append(("repeated texts", where, split["repeated_texts"], size, None))
    sizes = datasets.group_by("data", maintain_order=True).agg(pl.col("examples").sum())
    cut = [column for column in datasets.columns if column.startswith("truncated_")]
    for data in datasets.unique("data", maintain_order=True).join(sizes, on="data").iter_rows(named=True):
        if data["labels_alike"]:
            rows.append(("labels alike", data["data"], 1, None, data["labels_alike"]))
        for column in cut:
            where, size = f"{data['data']}, read by {column.removeprefix('truncated_')}", data["examples_right"]
            if (data[column] or 0) > NEGLIGIBLE * size:
                rows.append(("truncated examples", where, data[column], size, None))
    return rows


def _of_tokens(norms: pl.DataFrame) -> list[tuple]:
    rows = []
    counts = norms.select(
        *("model", "layer", "tokens"),
        massive=pl.col("massive") * pl.col("tokens"),
        first=(pl.col("massive_first") * pl.col("massive") * pl.col("tokens")).fill_null(0),
    )
    summed = counts.group_by("model", "layer", maintain_order=True).sum()
    for model, layer, tokens, massive, first in summed.iter_rows():
        such_as = f"{first / massive:.0%} are the first token of their text" if massive else None
        if massive > RARE * tokens:
            rows.append(("massive tokens", f"{model}, layer {layer}", round(massive), tokens, such_as))
    return rows


def _of_cells(cells: pl.DataFrame) -> list[tuple]:
    """`cells` holds a row per fit; a cell is doubted where any of its fits is, or most of them (MOSTLY)."""
    rows = []
    binary = pl.col("features").is_in([one.name for one in KINDS.values() if one.latents])
    doubts = {
        "saturated feature matrices": binary & (pl.col("density") > SATURATED),
        "empty feature matrices": binary & (pl.col("density") == 0),
        "probes that did not converge": ~pl.col("converged"),
        MOSTLY: pl.col("C_at_edge"),
    }
    axes = ("layer", "width", "pooling", "threshold")
    named = [pl.lit(f"{axis} ") + pl.col(axis).cast(pl.String) for axis in axes]
    named.append(pl.when(pl.col("selection") != "none").then(pl.lit("selection ") + pl.col("selection")))
    named.append(pl.when(pl.col("probe") != LOGISTIC).then(pl.lit("probe ") + pl.col("probe")))
    place = pl.concat_str(named, separator=", ", ignore_nulls=True)
    for (features, model, data), group in cells.group_by("features", "model", "data", maintain_order=True):
        where = ", ".join(part for part in (data, kind(features).title, model) if part)
        for doubt, condition in doubts.items():
            share = condition.mean().over(place)  # of the cell's fits
            doubted = share > 0.5 if doubt == MOSTLY else share > 0
            found = group.filter(doubted).select(place).to_series().unique(maintain_order=True)
            rows.append((doubt, where, len(found), group.select(place).n_unique(), _named(found.to_list())))
    return rows


def _of_saes(saes: pl.DataFrame) -> list[tuple]:
    rows = []
    for sae in saes.iter_rows(named=True):
        where = f"{sae['model']}, layer {sae['layer']}, width {sae['width']}"
        if sae["warning"] is not None:
            measured = f"L0 {sae['l0_on_data']:.0f}, published {sae['published_l0']:.0f}"
            rows.append(("L0 off the published one", where, 1, 1, measured))
        latents = parse_width(sae["width"])
        for doubt in ("dead", "dense") if sae["frozen"] is None else ():  # random directions are what they are
            if (share := sae.get(doubt) or 0) > NEGLIGIBLE:
                rows.append((f"{doubt} latents", where, round(share * latents), latents, None))
    return rows


def _drawn_once(cells: pl.DataFrame, saes: pl.DataFrame) -> list[tuple]:
    """Controls, and SAEs of trained models that were trained here or are frozen, with one draw alone."""
    controls = cells.filter(pl.col("control"))
    trained = saes.filter(~pl.col("model").is_in(controls["model"].unique().implode()))
    trained = trained.filter(pl.col("architecture").is_not_null()) if "architecture" in saes.columns else saes.clear()
    rows = []
    for (model,), draws in controls.group_by("model", maintain_order=True):
        rows.append(("drawn once", f"{model}, control", int(draws["draw"].max() == 0), 1, None))
    for (model, frozen), draws in trained.group_by("model", "frozen", maintain_order=True):
        what = f"its frozen SAEs ({frozen})" if frozen else "its SAEs"
        rows.append(("drawn once", f"{model}, {what}", int(draws["draw"].max() == 0), 1, None))
    return rows


def _named(places: list[str]) -> str | None:
    more = len(places) - NAMED
    return "; ".join(places[:NAMED]) + (f" and {more} more" if more > 0 else "") or None
