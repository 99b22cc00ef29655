"""Latents and contexts as Neuronpedia imports them, so that it, or what reads its exports, can show a study's SAE.

Files and fields are those of its own converter, at commit ebb8426 of github.com/hijohnnylin/neuronpedia
(utils/neuronpedia-utils/neuronpedia_utils/convert-saedashboard-to-neuronpedia-export.py, and db_models/ beside it);
apps/webapp/app/api/admin/import/route.ts reads them. A field that the study does not know is left out, for its default
to stand; creatorId, which has none, is for whoever imports to add.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from tessera.base.files import atomic
from tessera.evidence.contexts import STRATA
from tessera.evidence.tokens import activations_of, places_of
from tessera.study import paths

BINS = 50  # of a histogram
HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "mlp_in": "mlp.hook_in",
    "z": "attn.hook_z",
}


@dataclass
class Looked:
    """What a study saw of an SAE on one data set: a place of evidence.

    contexts: as `evidence.contexts` left them. shards: folders of activations.
    """

    data: str
    contexts: pl.DataFrame
    shards: list[Path]


@dataclass
class Source:
    """An SAE by the names that Neuronpedia has for it, or gives it: model, layer and set make `16-tessera-1k`."""

    model: str
    layer: int
    set: str
    hook: str

    @classmethod
    def of(cls, place: dict[str, str], about: dict) -> "Source":
        """Of model, layer and width, and what the prepared decoder says of itself."""
        named = re.fullmatch(r"([^/]+)/(\d+)-(.+)", about["neuronpedia"] or "")
        model, _, own = named.groups() if named else (place["model"], "", f"tessera-{place['width']}")
        return cls(model, int(place["layer"]), re.sub(r"[^A-Za-z0-9-]+", "-", own), about["hook"])

    @property
    def id(self) -> str:
        return f"{self.layer}-{self.set}"

    @property
    def keys(self) -> dict[str, str]:
        return {"modelId": self.model, "layer": self.id}


def write_neuronpedia(
    out: Path, place: dict[str, str], about: dict, looked: list[Looked], writes: pl.DataFrame, release: list[str] | None
) -> None:
    """Write the folder `out`: release, model, sourceset and source.jsonl, features and activations/batch-0.jsonl.gz.

    Args:
        place: model, layer, width. about: of the prepared decoder. writes: what the shown latents promote and suppress.
        release: release and id of a published SAE.
    """
    source = Source.of(place, about)
    latents = sorted({latent for one in looked for latent in one.contexts["latent"]})
    texts = {one.data: _texts(one, place, latents) for one in looked}
    tokens = sum(_pooled_tokens(one, place) for one in looked)
    fires = pl.concat([fires for _, fires in texts.values()])
    published = {"saelensRelease": release[0], "saelensSaeId": release[1]} if release else {}
    few = {
        "release": {"name": "tessera", "description": "SAEs of studies made with Tessera"},
        "model": {"id": source.model, "displayName": source.model, "displayNameShort": source.model},
        "sourceset": {"modelId": source.model, "name": source.set, "releaseName": "tessera"},
        "source": {
            **{"id": source.id, "modelId": source.model, "setName": source.set, "dataset": ", ".join(texts)},
            **published,
        },
    }
    with atomic(out) as part:
        for folder in ("features", "activations"):
            (part / folder).mkdir(parents=True)
        for name, row in few.items():
            (part / f"{name}.jsonl").write_bytes(_lines([row]))
        _zip(part / "features" / "batch-0.jsonl.gz", _features(source, latents, fires, tokens, writes))
        rows = (row for one in looked for row in _activations(source, one, *texts[one.data]))
        _zip(part / "activations" / "batch-0.jsonl.gz", rows)


def _texts(one: Looked, place: dict[str, str], latents: list[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tokens of the texts of the contexts; and every activation of the latents, on all texts."""
    everything = pl.concat(activations_of([folder / paths.LATENTS.format(**place) for folder in one.shards], latents))
    tokens, _ = places_of([folder / paths.TOKENS for folder in one.shards], one.contexts["example"].unique())
    return tokens, everything


def _pooled_tokens(one: Looked, place: dict[str, str]) -> int:
    return sum(pq.read_metadata(folder / paths.LATENTS.format(**place)).num_rows for folder in one.shards)


def _features(
    source: Source, latents: list[int], fires: pl.DataFrame, tokens: int, writes: pl.DataFrame
) -> Iterator[dict]:
    """A row per latent: how often it fires on the pooled tokens, how strongly, and what it writes."""
    written = {row["latent"]: row for row in writes.iter_rows(named=True)}
    values = {latent: group["activation"].to_numpy() for (latent,), group in fires.group_by("latent")}
    hook = {"hookName": f"blocks.{source.layer}.{HOOKS[source.hook]}"} if source.hook in HOOKS else {}
    for latent in latents:
        active = values.get(latent, np.zeros(0, dtype=np.float32))
        heights, edges = np.histogram(active, bins=BINS) if len(active) else ([], np.zeros(1))
        row = {
            **source.keys,
            "index": str(latent),
            **hook,
            "frac_nonzero": len(active) / max(1, tokens),
            "maxActApprox": float(active.max(initial=0)),
            "freq_hist_data_bar_heights": [int(height) for height in heights],
            "freq_hist_data_bar_values": _rounded((edges[:-1] + edges[1:]) / 2),
        }
        says = written.get(latent, {})
        for name, end in (("pos", "promoted"), ("neg", "suppressed")):
            if says.get(end) is not None:
                row |= {f"{name}_str": says[end], f"{name}_values": _rounded(says[f"{end}_logit"])}
        yield row


def _activations(source: Source, one: Looked, tokens: pl.DataFrame, fires: pl.DataFrame) -> Iterator[dict]:
    """A row per latent and text that fires it, with each content token of the text, and its activation there."""
    of_text = {example: group for (example,), group in tokens.sort("example", "position").group_by("example")}
    active = {key: group for key, group in fires.group_by("latent", "example")}
    quarter = {
        latent: largest / STRATA
        for latent, largest in fires.group_by("latent").agg(pl.col("activation").max()).iter_rows()
    }
    for context in one.contexts.filter(pl.col("stratum").is_not_null()).iter_rows(named=True):
        latent, example = context["latent"], context["example"]
        here, group = of_text[example], active[latent, example]
        values = np.zeros(len(here), dtype=np.float32)
        values[group["position"].to_numpy()] = group["activation"].to_numpy()
        name = f"{source.model}/{source.id}/{latent}/{one.data}/{context['id']}"
        yield {
            "id": f"c{hashlib.sha256(name.encode()).hexdigest()[:24]}",
            **source.keys,
            "index": str(latent),
            "tokens": _spelt(here, context["text"]),
            "values": _rounded(values),
            "maxValue": _rounded(values.max(keepdims=True))[0],
            "maxValueTokenIndex": int(values.argmax()),
            "minValue": _rounded(values.min(keepdims=True))[0],
            "binMin": round((STRATA - context["stratum"]) * quarter[latent], 6),
            "binMax": round((STRATA + 1 - context["stratum"]) * quarter[latent], 6),
            "dataIndex": context["id"],
            "dataSource": one.data,
        }


def _spelt(tokens: pl.DataFrame, text: str) -> list[str]:
    """Each token as it stands in the text, or as its tokenizer spells it."""
    return [
        piece if start is None else text[start:end]
        for start, end, piece in tokens.select("start", "end", "piece").iter_rows()
    ]


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 6) for value in values]


def _lines(rows: Iterable[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _zip(file: Path, rows: Iterable[dict]) -> None:
    file.write_bytes(gzip.compress(_lines(rows), mtime=0))  # no time in it: the same bytes for the same rows
