"""The first page of Snakemake's report: the primary claim, the main figure, and where to look further."""

import base64
import re
from pathlib import Path
from textwrap import wrap

import polars as pl

from tessera.study.study import Study

WIDTH = 1000  # of lines; reStructuredText has none over 10,000
TEMPLATE = """
Tessera
=======

Which SAE features of which model, layer and width classify these data sets, and do they beat hidden states and
bag-of-words?

- Models: {models}
- Data sets: {datasets}

{claim}

.. image:: data:image/png;base64,{figure}
   :alt: the best cell of each contestant on each data set
   :width: 640

To look at the study, open `explorer.html <explorer.html>`__, which lies beside this file: its cells, latents, texts and
tables. Here is where it comes from: **Warnings** (what to doubt), **Figures** (for print, each with a caption that says
what to read off it), **Sources** (data sets, SAEs, activations) and **Study** (config, versions, provenance, cost). In
each list the eye shows a result and the i its caption. The diagram shows which stage feeds which.
"""


def home(study: Study, claims: pl.DataFrame, figure: Path) -> str:
    """The page as reStructuredText; `figure` is a PNG."""
    models = [model for model in study.models if model not in study.controls]
    filled = TEMPLATE.format(
        models=plain(", ".join(models)),
        datasets=plain(", ".join(study.datasets)),
        claim=plain(primary(claims)),
        figure="\n   ".join(wrap(base64.b64encode(figure.read_bytes()).decode(), WIDTH)),
    )
    return f"{{% raw %}}{filled}{{% endraw %}}"  # the engine fills in templates here


def primary(claims: pl.DataFrame) -> str:
    """The primary claim in a sentence."""
    rows = claims.filter(role="primary")
    if rows.is_empty():
        return "No claim is primary here: the study has not both sides of it."
    row = rows.row(0, named=True)
    ends = "" if row["difference_low"] is None else f" [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
    difference = f"{row['difference']:+.3f}{ends} in {row['metric'].replace('_', ' ')}, {row['on']}"
    return f"The primary claim, {row['claim']}: {row['verdict']} ({difference})."


def plain(text: str) -> str:
    """Text that means itself in reStructuredText."""
    return re.sub(r"([\\*`|_<>])", r"\\\1", text)
