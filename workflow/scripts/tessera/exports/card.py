"""The card of an exported probe: what it classifies, how well, what to doubt, how to run it."""

import re
from importlib.metadata import version
from string import Template

import polars as pl

from tessera.exports.code import code

SHOWN = 10  # latents
SCORES = ("macro_f1", "accuracy", "roc_auc", "average_precision", "ece")
OF_TEXTS = ("split", "examples", "classes", "largest_class", "texts_in_training", "near_in_training")
CARD = Template("""\
# $title

A linear probe on the latents of a sparse autoencoder (SAE). It sorts a text into: $classes.

- **Model**: $model, block $layer, `$hook`
- **SAE**: $sae, $width latents
- **How a text is read**: its first $max_tokens tokens, $left_out left out; each latent's activations pooled by
  `$pooling`; $threshold
- **Probe**: logistic regression on $latents latents, C = $C

## Data and scores

Fitted on the training split of `$data` ($training texts), C chosen by folds inside it, scored on what it held out. In
brackets: 95 % intervals, over test examples and, where there are several, splits and SAEs ($repeats splits, $draws
SAEs here). This folder holds the probe of the first split.

$scores

$splits

## What the study claims of such probes on this data set

$claims

## What to doubt

$warnings

## Its heaviest latents

Those of the largest weights, on the values that the probe sees; a positive one speaks for the class.

$top

## Limits

It learnt what tells these classes apart in `$data`: texts like those, with their labels and the faults of these. Of
other texts, languages and lengths the scores say nothing. Its probabilities are as well calibrated as `ece` says (0:
perfectly). A latent with weight shows what the model represents, not that the model uses it.

## Licence

None is given here: model, SAE and data set have their own, which whoever passes this folder on must look up.

## Running it

With Tessera, whose results are those of the study:

```python
import tessera

probe = tessera.load_probe("path/to/this/folder")  # model="folder or hub id", where the model is elsewhere
probe.predict(["a text", "another"])
```

$alone
""")
ALONE = Template("""\
With transformers ($transformers) and SAELens ($saelens) alone, up to rounding (the study keeps activations as $kept):

```python
$code```""")
NOT_ALONE = """\
Without Tessera it takes more than a page of code (a chat template, re-drawn weights, or a place inside a block);
`probe.json` says all that it takes."""


def card(about: dict, tables: dict[str, pl.DataFrame], coefficients: pl.DataFrame, model: str) -> str:
    """The card as Markdown.

    Args:
        about: what probe.json holds.
        tables: cells, claims, warnings, datasets and, where the study has evidence, shown_latents: whole.
        coefficients: of the exported probe. model: its folder or hub id.
    """
    cell, release = about["cell"], about["sae"]["release"]
    scored = tables["cells"].filter(**_where(cell))
    left_out = "special ones" if about["stored"]["pool_massive"] else "special ones and massive ones"
    tau = about["tau"]
    return CARD.substitute(
        {axis: cell[axis] for axis in ("layer", "width", "data", "pooling")},
        title=f"{cell['data']}, told by {cell['model']}",
        classes=", ".join(f"`{name}`" for name in about["classes"]),
        model=_model(about["model"]),
        hook=about["hook"],
        sae=f"`{release[1]}` of the release `{release[0]}`" if release else "in the folder `sae`, as SAELens saves it",
        max_tokens=about["max_tokens"],
        left_out=left_out,
        threshold="divided by its largest in training" if tau is None else f"1 where that is over {tau:g}, else 0",
        latents=coefficients["latent"].drop_nulls().n_unique(),
        C=f"{about['C']:g}",
        training=about["training_examples"],
        repeats=scored["repeats"][0],
        draws=scored["draws"][0],
        scores=_scores(scored),
        splits=_markdown(tables["datasets"].filter(data=cell["data"]).select(OF_TEXTS)),
        claims=_claims(tables["claims"], cell["data"]),
        warnings=_warnings(tables["warnings"], cell),
        top=_top(coefficients, tables.get("shown_latents"), cell),
        alone=_alone(about, model),
    )


def _model(model: dict) -> str:
    """Where the study had it from, and what identifies its weights."""
    source = model["identity"]["architecture"]
    facts = [value for *_, value in model["weights"]["facts"]]
    return f"`{source.get('hub') or source.get('path') or model['made']}` ({facts[0]})"


def _where(cell: dict[str, str]) -> dict[str, str | int]:
    return {axis: int(value) if axis == "layer" else value for axis, value in cell.items()}


def _scores(scored: pl.DataFrame) -> str:
    """A row per test split, a column per score."""
    intervals = [
        pl.format("{} [{}, {}]", *(pl.col(f"{metric}{end}").round(3) for end in ("", "_low", "_high"))).alias(metric)
        for metric in SCORES
    ]
    return _markdown(scored.select("split", "examples", *intervals))


def _claims(claims: pl.DataFrame, data: str) -> str:
    """Those on this data set, in any scenario or place."""
    here = pl.Series([data in re.split(r"[^\w.-]+", on) for on in claims["on"]], dtype=pl.Boolean)
    ends = (pl.col(f"difference{end}").round(3) for end in ("", "_low", "_high"))
    found = claims.filter(here).select(
        "claim", "on", "split", "metric", pl.format("{} [{}, {}]", *ends).alias("difference"), "verdict"
    )
    return _markdown(found) if len(found) else "Nothing."


def _warnings(warnings: pl.DataFrame, cell: dict[str, str]) -> str:
    """Those of the data set, or of the model."""
    words = {cell["data"], cell["model"]}
    here = pl.Series([bool(words & {*re.split(r"[^\w.-]+", where)}) for where in warnings["where"]], dtype=pl.Boolean)
    found = warnings.filter(here).select("warning", "where", "count", "of", "advice")
    return _markdown(found) if len(found) else "The study's warnings name neither this data set nor this model."


def _top(coefficients: pl.DataFrame, shown: pl.DataFrame | None, cell: dict[str, str]) -> str:
    """The latents of the largest weights, and what the study's evidence says of each, if it looked there."""
    latents = coefficients.drop_nulls("latent").sort(pl.col("weight").abs(), descending=True, maintain_order=True)
    found = latents.head(SHOWN).select("latent", "class", pl.col("weight").round(4))
    if shown is not None:
        place = {axis: value for axis, value in _where(cell).items() if axis in ("model", "layer", "width", "data")}
        known = shown.filter(**place).unique("latent", maintain_order=True)
        known = known.select(pl.col("latent").cast(pl.Int32), "fires_on", "promoted")
        found = found.join(known, on="latent", how="left", maintain_order="left")
    return _markdown(found)


def _alone(about: dict, model: str) -> str:
    found = code(about, model)
    if found is None:
        return NOT_ALONE
    libraries = {"transformers": version("transformers"), "saelens": version("sae-lens")}
    return ALONE.substitute(libraries, kept=about["stored"]["activation_dtype"], code=found)


def _markdown(table: pl.DataFrame) -> str:
    safe = table.with_columns(pl.col(pl.String).str.replace_all("|", r"\|", literal=True).fill_null(""))
    with pl.Config(
        tbl_formatting="MARKDOWN",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_rows=-1,
        tbl_cols=-1,
        fmt_str_lengths=10_000,
        tbl_width_chars=60_000,
    ):
        return str(safe)
