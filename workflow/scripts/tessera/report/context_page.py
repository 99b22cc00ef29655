"""The page of contexts: texts with the tokens that fire a latent marked, the stronger the darker."""

import html

import polars as pl

from tessera.report.pages import whole_page
from tessera.results.entries import Table
from tessera.study.evidence import AXES

STRATA = {1: "highest quarter", 2: "third quarter", 3: "second quarter", 4: "lowest quarter", None: "silent"}
AROUND = 160  # characters shown on either side of the strongest token of a long text
STYLE = """
section { margin: 1.5em 0; max-width: 60em } h2 { font-size: 1.1em; margin: 0 0 .3em }
.context { padding: .2em 0 .2em .6em; border-left: 3px solid #e69f00; margin: .25em 0; overflow-wrap: anywhere }
.silent { border-left-color: #bbb } .context small { display: block }
mark { color: inherit; border-radius: 2px }
nav a { margin-right: .8em; white-space: nowrap }
"""


def contexts_page(entry: Table, contexts: pl.DataFrame) -> str:
    """A section per place and latent, its texts below: no text is ever markup."""
    sections, links = [], []
    for number, ((*place, latent), rows) in enumerate(contexts.group_by(*AXES, "latent", maintain_order=True)):
        name = f"{'/'.join(map(str, place))}: latent {latent}"
        links.append(f'<a href="#latent{number}">{html.escape(name)}</a>')
        largest = max((value for values in rows["activation"].drop_nulls() for value in values), default=0.0)
        texts = "".join(_context(row, largest) for row in rows.iter_rows(named=True))
        sections.append(f'<section id="latent{number}"><h2>{html.escape(name)}</h2>{texts}</section>')
    content = f"<style>{STYLE}</style><nav>{' '.join(links)}</nav>{''.join(sections)}"
    return whole_page(entry.name, entry.about, content)


def _context(row: dict, largest: float) -> str:
    """One text: its class, how strongly it fires, and the text around its strongest token."""
    silent = row["stratum"] is None
    about = f"{STRATA[row['stratum']]} · {row['label']} · {row['split']} · {row['id']}"
    about += f" · similarity {row['similarity']:.2f}" if silent else f" · up to {max(row['activation']):.3g}"
    kind = "context silent" if silent else "context"
    return f'<div class="{kind}"><small>{html.escape(about)}</small>{_marked(row, largest)}</div>'


def _marked(row: dict, largest: float) -> str:
    """The text as HTML; where the tokenizer or the medium gives no characters, the tokens or patches by themselves."""
    text, values = row["text"], row["activation"] or []
    if row["start"] is None or (values and row["start"][0] is None):
        return html.escape(_short(text)) + "".join(
            f" {_mark(place, value, largest)}" for place, value in zip(_names(row), values, strict=False)
        )
    spans = zip(row["start"], row["end"], values, strict=True)
    spans = sorted(span for span in spans if span[1] > span[0])  # tokens of blanks may have no characters
    largest_at = {}  # several tokens may be parts of one character
    for start, end, value in spans:
        largest_at[start, end] = max(value, largest_at.get((start, end), value))
    spans = [(*place, value) for place, value in largest_at.items()]
    strongest = max(spans, key=lambda span: abs(span[2]), default=(0, 0, 0.0))
    first, last = max(0, strongest[0] - AROUND), min(len(text), strongest[1] + AROUND)
    parts, place = ["… " if first else ""], first
    for start, end, value in spans:
        if start >= place and end <= last:
            parts += [html.escape(text[place:start]), _mark(text[start:end], value, largest)]
            place = end
    parts += [html.escape(text[place:last]), " …" if last < len(text) else ""]
    return "".join(parts)


def _names(row: dict) -> list[str]:
    """What stands for each token: the piece, or row and column of the patch."""
    if row["piece"] is not None and row["piece"][0] is not None:
        return row["piece"]
    if row["row"] is not None:
        return [f"patch {one}, {other}" for one, other in zip(row["row"], row["column"], strict=True)]
    return []


def _mark(text: str, value: float, largest: float) -> str:
    share = min(1.0, max(0.0, value / largest)) if largest > 0 else 0.0
    shade = f"rgba(230, 159, 0, {0.15 + 0.75 * share:.2f})"
    return f'<mark style="background: {shade}" title="{value:.4g}">{html.escape(text)}</mark>'


def _short(text: str) -> str:
    return text if len(text) <= 2 * AROUND else f"{text[: 2 * AROUND]} …"
