"""The rows of a data set: read from any source, every one checked."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.base.errors import TesseraError, shorten
from tessera.base.files import resolve
from tessera.examples import images
from tessera.examples.checks import AUTO, no_row
from tessera.examples.splits import joined
from tessera.study.media import holds

LABELS = "strings, whole numbers, booleans"
READERS = {
    ".csv": lambda path, header: pl.read_csv(path, infer_schema=False, has_header=header),
    ".tsv": lambda path, header: pl.read_csv(path, infer_schema=False, has_header=header, separator="\t"),
    ".jsonl": lambda path, header: pl.read_ndjson(path, infer_schema_length=None),
    ".parquet": lambda path, header: _read_parquet(path),
}


def _read_parquet(path: Path) -> pl.DataFrame:
    """By pyarrow, every value checked and no metadata kept: some damage makes polars' own reader abort the process."""
    table = pq.read_table(path)
    table.validate(full=True)
    return pl.from_arrow(pa.Table.from_arrays(table.columns, names=table.schema.names))


def read_file(key: str, spec: dict) -> pl.DataFrame:
    file = resolve(spec["path"])
    if not file.is_file():
        raise TesseraError(f"config key {key}.path: there is no file {str(file)!r}")
    kind = Path(file.name.removesuffix(".zst").removesuffix(".gz")).suffix
    if kind not in READERS:
        raise TesseraError(f"config key {key}.path: {file.name!r} is none of {', '.join(READERS)} (or those with .zst)")
    try:
        frame = READERS[kind](file, spec.get("header", True))
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, ValueError) as error:
        raise TesseraError(f"config key {key}.path: {str(file)!r} cannot be read: {first_line(error)}") from error
    if kind in (".csv", ".tsv"):
        _once(key, file, frame.columns)
    return frame


def _once(key: str, file: Path, names: list[str]) -> None:
    """No two columns have one name; polars calls the second `name_duplicated_0`."""
    for name in names:
        first, _, number = name.rpartition("_duplicated_")
        if first in names and number.isdecimal():
            raise TesseraError(
                f"config key {key}.path: {str(file)!r} has two columns named {shorten(first)}; rename one"
            )


def read_hub(key: str, spec: dict) -> pl.DataFrame:
    try:
        from datasets import load_dataset  # heavy, and only hub data sets need it

        return load_dataset(spec["hub"], spec.get("hub_config"), split=spec["hub_split"]).to_polars()
    except Exception as error:  # the hub's client raises many kinds; each means that the data are not there
        raise TesseraError(
            f"config key {key}.hub: {spec['hub']!r} (split {spec['hub_split']!r}) cannot be loaded from the hub or its "
            f"cache: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def names(spec: dict) -> dict:
    return {column: spec[column] for column in ("text", "image", "label", "id") if column in spec}


def inherited(spec: dict) -> dict:
    """What a shift has of its data set, where its own entry says nothing else."""
    return names(spec) | {part: spec[part] for part in ("pixels", "header") if part in spec}


def where(key: str, raw: pl.DataFrame, where: dict[str, str]) -> pl.DataFrame:
    """The rows in which each column of `where` has its value."""
    for column, value in where.items():
        if column not in raw.columns:
            raise TesseraError(f"config key {key}.where: no column {column!r}; there: {', '.join(raw.columns)}")
        kept = raw.filter(pl.col(column).cast(pl.String) == value)
        if kept.is_empty():
            there = raw[column].cast(pl.String).unique().drop_nulls().sort().to_list()
            raise TesseraError(f"config key {key}.where.{column}: no row has {shorten(value)}; there: {shorten(there)}")
        raw = kept
    return raw


def columns(key: str, raw: pl.DataFrame, spec: dict) -> pl.DataFrame:
    """The columns id, text and label of `raw`, every row checked; of images place (row) and image."""
    for role, column in names(spec).items():
        if column not in raw.columns:
            raise TesseraError(f"config key {key}.{role}: no column {column!r}; there: {', '.join(raw.columns)}")
    if raw.is_empty():
        raise TesseraError(f"config key {key}: the data set has no rows")
    image = images.image_column(key, raw, spec) if holds(spec) == "image" else None
    text, label = raw[spec["text"]] if image is None else images.names(image), raw[spec["label"]]
    if text.dtype != pl.String:
        raise TesseraError(f"config key {key}.text: column {spec['text']!r} holds {text.dtype}, not strings")
    if not (label.dtype in (pl.String, pl.Boolean) or label.dtype.is_integer()):
        raise TesseraError(f"config key {key}.label: column {spec['label']!r} holds {label.dtype}; allowed: {LABELS}")
    no_row(key, "text", "empty text", text.is_null() | (text.str.strip_chars() == ""))
    for role, values in (("text", text), ("label", label.cast(pl.String))):
        no_row(key, role, "a NUL byte", values.str.contains("\0", literal=True).fill_null(False))
    no_row(key, "label", "no label", label.is_null() | (label.cast(pl.String).str.strip_chars() == ""))
    label = label.cast(pl.String).str.strip_chars()
    if label.str.contains(r"^-?\d+\.\d+$").all():
        raise TesseraError(f"config key {key}.label: {label[0]!r} is a fraction; allowed: {LABELS}")
    if "id" in spec:
        id = raw[spec["id"]].cast(pl.String)
        no_row(key, "id", "no id", id.is_null())
        no_row(key, "id", "an id seen before", ~id.is_first_distinct(), id)
    else:
        id = pl.Series(range(len(raw)), dtype=pl.UInt32).cast(pl.String)
    frame = pl.DataFrame({"id": id, "text": text, "label": label, "group": groups(key, raw, spec, text)})
    return frame if image is None else frame.with_columns(place=pl.int_range(pl.len()), image=image)


def decoded(key: str, frame: pl.DataFrame, spec: dict, whole: bool) -> pl.DataFrame:
    """Images encoded, their digests in the place of the text, and groups joined where they share a digest."""
    if not whole:
        return frame.drop("place", "image")
    image, text = images.encoded(key, frame, spec)
    frame = frame.drop("place").with_columns(image, text)
    return frame.with_columns(group=joined(frame["group"], text) if spec.get("group", AUTO) != AUTO else text)


def groups(key: str, raw: pl.DataFrame, spec: dict, text: pl.Series) -> pl.Series:
    """A name for what is not to be parted: texts, or groups of the user's, joined where they share a text."""
    if spec.get("group", AUTO) == AUTO:
        return text
    if spec["group"] not in raw.columns:
        raise TesseraError(f"config key {key}.group: no column {spec['group']!r}; there: {', '.join(raw.columns)}")
    group = raw[spec["group"]].cast(pl.String)
    no_row(key, "group", "no group", group.is_null())
    return joined(group, text)
