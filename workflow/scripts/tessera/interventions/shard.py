"""One shard of a data set through a model without its latents: every set of them, in one job with one model."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.files import atomic, write_parquet
from tessera.interventions.ablation import Ablation, Latents
from tessera.interventions.passes import divergence, take_out
from tessera.models.answers import answer
from tessera.models.text import TextModel

STEPS = 4  # later layers that are read, in about equal steps, the last among them
OTHERS = 32  # other texts at most, all shards together
DIVERGENCE = {"set": pl.Int64, "texts": pl.Int64, "tokens": pl.Int64, "kl": pl.Float64}
ANSWERS = {
    "set": pl.Int64,
    "example": pl.String,
    "choice": pl.String,
    "before": pl.Float64,
    "after": pl.Float64,
    "turned": pl.Boolean,
}


def ablations_of(sets: pl.DataFrame) -> dict[str, Ablation]:
    """Number of each set → what is taken out for it, from what `evidence.choice` chose."""
    found = {}
    for number, one in enumerate(sets.iter_rows(named=True)):
        if one["directions"] is not None:
            found[str(number)] = Ablation("directions", np.array(one["directions"]))
        elif one["latents"] is not None:
            found[str(number)] = Ablation("latents", np.array(one["latents"], dtype=np.int64))
        else:
            found[str(number)] = Ablation(one["kind"])  # nothing, all
    return found


def other_texts(files: list[str], *, seed: int, shard: int, shards: int) -> list[str]:
    """A shard's part of up to OTHERS texts of other examples, drawn once for all shards."""
    parts = [pl.read_parquet(file, columns=["text"]) for file in files]
    texts = pl.concat([pl.DataFrame(schema={"text": pl.String}), *parts])["text"].unique(maintain_order=True)
    return texts.sample(min(OTHERS, len(texts)), seed=seed).to_list()[shard::shards]


def later(layer: int, blocks: int) -> list[int]:
    """The layers whose hidden states are read: that of the SAE, then steps to the last."""
    return sorted({round(place) for place in np.linspace(layer, blocks - 1, STEPS + 1)})


def ablate(
    model: TextModel,
    latents: Latents,
    examples: pl.DataFrame,
    sets: pl.DataFrame,
    others: list[str],
    prompts: pl.DataFrame | None,
    out: Path,
    *,
    max_tokens: int,
    pool_massive: bool,
) -> None:
    """Write the folder `out`: hidden states (`passes.take_out`), divergence.parquet, answers.parquet.

    All examples are read as they are, those of the test split without each set. `others`: texts whose next-token
    predictions are compared, of a model with a head. `prompts`: of the data set, where the model answered them; those
    of the test split are answered without each set too.
    """
    ablations, options = ablations_of(sets), {"max_tokens": max_tokens, "pool_massive": pool_massive}
    plain = {name for name, one in ablations.items() if one.kind == "nothing"}
    taken = {name: one for name, one in ablations.items() if name not in plain}
    layers, test = later(latents.place[0], len(model.blocks)), examples.filter(split="test")
    with atomic(out) as part:
        take_out(model, latents, examples, {name: ablations[name] for name in plain}, layers, part, **options)
        if len(test):
            take_out(model, latents, test, taken, layers, part, **options)
        moved = divergence(model, latents, others, taken, **options) if others else None
        moved = pl.DataFrame(schema=DIVERGENCE) if moved is None else moved.cast(DIVERGENCE)
        write_parquet(part / "divergence.parquet", moved)
        changed = []
        if prompts is not None:
            prompts = prompts.filter(pl.col("id").cast(pl.String).is_in(test["id"].implode()))
        if prompts is not None and len(prompts):
            before = answer(model, prompts, max_tokens=max_tokens)
            for name, ablation in taken.items():
                change = latents.change(ablation, pool_massive)
                changed += _changes(
                    int(name), prompts, before, answer(model, prompts, max_tokens=max_tokens, change=change)
                )
        write_parquet(part / "answers.parquet", pl.DataFrame(changed, schema=ANSWERS))


def _changes(number: int, prompts: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame) -> list[dict]:
    """A row per prompt and choice."""
    rows = []
    both = zip(prompts.iter_rows(named=True), before["log_probability"], after["log_probability"], strict=True)
    for prompt, first, second in both:
        turned = int(first.arg_max()) != int(second.arg_max())
        for name, one, other in zip(prompt["names"], first, second, strict=True):
            row = {"set": number, "example": str(prompt["id"]), "choice": name, "before": one, "after": other}
            rows.append(row | {"turned": turned})
    return rows
