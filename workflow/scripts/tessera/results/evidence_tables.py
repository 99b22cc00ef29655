"""The tables of evidence: every place in one, names and what a latent writes beside it, and what claims rest on."""

from collections.abc import Iterator

import polars as pl

from tessera.results.catalogue import TABLES
from tessera.results.merging import in_order, scan
from tessera.study.evidence import AXES

CELL_OF = pl.format("{}/{}/{}: {}", *AXES)
LISTED = ("promoted", "suppressed")


def evidence_tables(parts: dict[str, list[str]], k: int) -> dict[str, pl.DataFrame]:
    """Name → table, from the files of every part of every place; those that a study has no file for are not there."""
    found = {part: scan(files).collect() for part, files in parts.items() if files}
    tables = {name: _as(name, found[name]) for name in ("latents", "contexts", "decisions", "sufficiency", "stability")}
    tables["latent_histograms"] = _as("latent_histograms", found["histograms"])
    tables["shown_latents"] = _shown(found)
    tables["evidence_claims"] = _as("evidence_claims", pl.concat(_claims(found, k), how="diagonal"))
    if "maps" in found:
        tables["maps"] = _as("maps", found["maps"])
    if "ablations" in found:
        tables |= {
            "ablations": _as("ablations", found["ablations"]),
            "harm": _as("harm", _harm(found["harm"])),
            "ablated_answers": _as("ablated_answers", _answers(found["answers"])),
        }
    return tables


def in_parts(name: str, files: list[str]) -> Iterator[pl.DataFrame]:
    """A table whose places together may fill the memory, a place at a time."""
    for file in in_order(files):
        yield _as(name, scan([file]).collect())


def _as(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in the columns of the catalogue, places in order."""
    return frame.select(TABLES[name].columns).sort(AXES, maintain_order=True) if "data" in frame else frame


def _shown(found: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The latents that are shown: how they do, how specific they are, what they write, what they are called."""
    on = [*AXES, "class", "latent"]
    told = found["latents"].select(*on, "roc_auc", "roc_auc_low", "roc_auc_high", "firing_texts", "firing_texts_others",
                                   "contribution", "absolute_contribution", "contribution_gap")  # fmt: skip
    shown = found["specificity"].join(told, on=on, how="left", maintain_order="left")
    named = shown.join(found["writes"], on=["model", "layer", "width", "latent"], how="left", maintain_order="left")
    return _as("shown_latents", named.with_columns(pl.col(LISTED).list.join(" ")))


def _claims(found: dict[str, pl.DataFrame], k: int) -> list[pl.DataFrame]:
    """What the claims of evidence rest on: each against each."""
    parts = [
        found["suffices"].with_columns(claim=pl.lit(f"{k} latents suffice"), on=CELL_OF, metric=pl.lit("macro_f1"))
    ]
    if "needed" in found:
        claim = pl.lit(f"{k} latents necessary in the model")
        parts.append(found["needed"].with_columns(claim=claim, on=CELL_OF))
    if "abroad" in found:
        on = pl.format("{}: {}/{}/{}, {} → {}", "scenario", "model", "layer", "width", "source", "target")
        claim = pl.lit("latents fire for their class in the target")
        parts.append(found["abroad"].with_columns(claim=claim, on=on, metric=pl.lit("firing")))
    return [part.select(TABLES["evidence_claims"].columns) for part in parts]


def _harm(harm: pl.DataFrame) -> pl.DataFrame:
    """Shards together; random draws together."""
    kl = (pl.col("kl") * pl.col("tokens")).sum() / pl.col("tokens").sum()
    whole = harm.group_by(*AXES, "kind", "class", "draw", maintain_order=True).agg(pl.col("texts", "tokens").sum(), kl)
    ends = {"kl": pl.col("kl").mean(), "kl_low": pl.col("kl").min(), "kl_high": pl.col("kl").max()}
    return whole.group_by(*AXES, "kind", "class", maintain_order=True).agg(
        pl.col("texts", "tokens").first(), draws=pl.len(), **ends
    )


def _answers(answers: pl.DataFrame) -> pl.DataFrame:
    """Mean change of each choice's log-probability, over prompts, and over draws."""
    by = [*AXES, "kind", "class", "choice"]
    of_prompt = answers.group_by(*by, "example", maintain_order=True).agg(
        pl.col("before", "after", "turned").mean(), draws=pl.col("draw").n_unique()
    )
    change = pl.col("after") - pl.col("before")
    return of_prompt.group_by(by, maintain_order=True).agg(
        pl.col("before", "after", "turned").mean(),
        change=change.mean(),
        change_error=change.std() / pl.len().sqrt(),
        prompts=pl.len(),
        draws=pl.col("draws").max(),
    )
