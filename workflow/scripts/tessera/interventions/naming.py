"""What latents are called: the tokens that they write, their page on Neuronpedia, a file of explanations."""

from pathlib import Path

import polars as pl

from tessera.base.errors import TesseraError
from tessera.interventions.writing import writes
from tessera.saes.decoders import Decoder

NEURONPEDIA = "https://www.neuronpedia.org"
SCHEMA = {
    "latent": pl.Int64,
    "promoted": pl.List(pl.String),
    "promoted_logit": pl.List(pl.Float32),
    "suppressed": pl.List(pl.String),
    "suppressed_logit": pl.List(pl.Float32),
    "neuronpedia": pl.String,
    "explanation": pl.String,
}
# Names of the columns: ours, then those of Neuronpedia's export.
NUMBERS, TEXTS = ("latent", "index", "feature"), ("text", "explanation", "description")


def named(
    latents: pl.Series, decoder: Decoder, folder: Path | None, explanations: list[str]
) -> tuple[pl.DataFrame, str | None]:
    """A row per latent; and why no tokens are there, where that is so.

    folder: the model's, where it reads texts. explanations: at most one file, see `read_explanations`.
    """
    about, tokens = decoder.about, None
    if folder is None:
        reason = "the model reads images"
    elif about["why_not"] or decoder.W_WD is None:
        reason = about["why_not"] or "the SAE has no decoder"
    else:
        tokens, reason = writes(decoder.W_WD[latents.to_list()], folder, about["hook"])
    found = pl.DataFrame({"latent": latents.cast(pl.Int64)})
    if tokens is not None:
        found = found.hstack(tokens.drop("latent_row"))
    if about["neuronpedia"]:
        page = pl.format(f"{NEURONPEDIA}/{about['neuronpedia'].replace('{', '').replace('}', '')}/{{}}", "latent")
        found = found.with_columns(neuronpedia=page)
    for file in explanations:
        found = found.join(read_explanations(Path(file)), on="latent", how="left", maintain_order="left")
    missing = [pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items() if name not in found.columns]
    return found.with_columns(missing).select(SCHEMA.keys()).cast(SCHEMA), reason


def read_explanations(file: Path) -> pl.DataFrame:
    """latent and explanation of a table (.csv, .parquet, .json, .jsonl), several of one latent joined.

    Raises:
        TesseraError: it cannot be read, or has no columns of a latent's number and a text.
    """
    readers = {
        ".csv": pl.read_csv,
        ".parquet": pl.read_parquet,
        ".json": pl.read_json,
        ".jsonl": pl.read_ndjson,
    }
    key = "config key saes.….explanations"
    if file.suffix not in readers:
        raise TesseraError(f"{key}: {str(file)!r} is of none of the kinds {', '.join(readers)}")
    try:
        table = readers[file.suffix](file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TesseraError(f"{key}: {str(file)!r} cannot be read: {str(error).splitlines()[0]}") from error
    number, text = (next((name for name in some if name in table.columns), None) for some in (NUMBERS, TEXTS))
    if number is None or text is None or (number == text):
        raise TesseraError(
            f"{key}: {str(file)!r} has the columns {', '.join(table.columns)}; one of {', '.join(NUMBERS)} and one of "
            f"{', '.join(TEXTS)} are needed"
        )
    try:
        table = table.select(latent=pl.col(number).cast(pl.Int64), explanation=pl.col(text).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise TesseraError(f"{key}: {str(file)!r}: {number} is no number: {str(error).splitlines()[0]}") from error
    return table.group_by("latent", maintain_order=True).agg(pl.col("explanation").str.join("; "))
