"""Pages of Snakemake's report: where results come from and what to doubt; the explorer shows the results."""

import html
from pathlib import Path

import polars as pl
import yaml

from tessera.results.columns import meaning
from tessera.results.entries import Table
from tessera.study.study import Study

LIMIT = 2000  # rows of a page; the csv has all
STYLE = """
body { font: 13px/1.4 system-ui, sans-serif; margin: 1.2em; color: #222 }
h1 { font-size: 1.3em } p { max-width: 60em } pre { background: #f5f5f5; padding: 1em; overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { position: sticky; top: 0; background: #eef2f5; text-align: left; white-space: nowrap }
th, td { padding: .25em .6em; border-bottom: 1px solid #ddd }
td.number { text-align: right; white-space: nowrap } small { color: #666 }
"""


def table_page(entry: Table, table: pl.DataFrame) -> str:
    """A page that shows a table of the catalogue; its first rows where it is long. Heads say what a column means."""
    meanings = {column: meaning(column) for column in entry.columns}
    return whole_page(entry.name, *_shown(entry.about, table, meanings))


def _shown(about: str, table: pl.DataFrame, meanings: dict[str, str]) -> tuple[str, str]:
    """A paragraph about a table, and its first rows as HTML.

    Columns without any value are left out; x, x_low and x_high become one column, x with its interval.
    """
    shown = table.head(LIMIT)
    shown = shown.select(column for column in shown if column.null_count() < len(column) or shown.is_empty())
    intervals = {name for name in shown.columns if {f"{name}_low", f"{name}_high"} <= set(shown.columns)}
    hidden = {f"{name}_{end}" for name in intervals for end in ("low", "high")}
    columns = [name for name in shown.columns if name not in hidden]
    heads = "".join(
        f'<th title="{html.escape(meanings.get(name, ""))}">{html.escape(name.replace("_", " "))}</th>'
        for name in columns
    )
    rows = []
    for row in shown.iter_rows(named=True):
        cells = (_cell(row[name], *(row[f"{name}_{end}"] for end in ("low", "high") if name in intervals))
                 for name in columns)  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    rest = f" Shown are the first {LIMIT} of {len(table)} rows; the csv holds all." if len(table) > LIMIT else ""
    return about + rest, f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(value: object, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        text += f" <small>[{low:.3f}, {high:.3f}]</small>" if low is not None and high is not None else ""
        return f'<td class="number">{text}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def study_page(study: Study, cells: pl.DataFrame, provenance: pl.DataFrame) -> str:
    """The config with its defaults filled in, what was computed, and with which code."""
    counts = {"models": len(study.models), "data sets": len(study.datasets)}
    counts["cells"] = cells.filter(split="test").height
    code = provenance.filter(pl.col("kind").is_in(["code", "library", "config"]))
    lines = [f"{kind} {name} ({item}): {value}" for kind, name, item, value in code.iter_rows()]
    numbers = ", ".join(f"{count} {name}" for name, count in counts.items())
    config = yaml.safe_dump(study.config, sort_keys=False, allow_unicode=True)
    content = f"<h1>Config, defaults filled in</h1><pre>{html.escape(config)}</pre>"
    content += f"<h1>Code and libraries</h1><pre>{html.escape(chr(10).join(lines))}</pre>"
    return whole_page("Study", f"{numbers}. Hashes of weights and data: page provenance.", content)


def whole_page(title: str, about: str, content: str) -> str:
    title = html.escape(title)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    body = f"<h1>{title}</h1><p>{html.escape(about)}</p>{content}"
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>\n"


def runtimes_page(folder: Path) -> str:
    """What each stage cost."""
    about = (
        "What each stage cost, from the record of every job that left one here, also of cells that are no longer in "
    )
    return whole_page("runtimes", *_shown(about + "the study.", runtimes(folder), {}))


def runtimes(folder: Path) -> pl.DataFrame:
    """Per rule: jobs, wall and CPU hours of all, the longest and the largest, from the engine's records in `folder`."""
    schema = {"s": pl.Float64, "max_rss": pl.Float64, "cpu_time": pl.Float64}  # no memory of a job of under a second
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        with file.open() as lines:
            if not schema.keys() <= {*next(lines, "").split()}:
                continue  # no record of the engine's: a file of the workflow that imports this one
        record = pl.read_csv(file, separator="\t", infer_schema=False).select(
            pl.col(name).cast(kind, strict=False) for name, kind in schema.items()
        )
        rows.append(record.with_columns(rule=pl.lit(file.relative_to(folder).parts[0].removesuffix(".tsv"))))
    records = pl.concat(rows) if rows else pl.DataFrame(schema={**schema, "rule": pl.String})
    table = records.group_by("rule", maintain_order=True).agg(
        jobs=pl.len(),
        wall_minutes=pl.col("s").sum() / 60,
        cpu_minutes=pl.col("cpu_time").sum() / 60,
        longest_job_seconds=pl.col("s").max(),
        largest_job_mib=pl.col("max_rss").max(),
    )
    return table.sort("wall_minutes", descending=True)
