"""One shard of a data set through a model without its latents: every set of them, in one job with one model."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.files import atomic, write_parquet
from tessera.interventions.acting import acting
from tessera.interventions.kinds import Intervention, Nothing, Projected, Without
from tessera.interventions.latents import Latents
from tessera.interventions.passes import moved, write_states
from tessera.models.answers import answer
from tessera.models.forward import Change
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


def ablations_of(sets: pl.DataFrame, latents: Latents) -> dict[str, Intervention]:
    """Number of each set → what is taken out for it, from what `evidence.choice` chose."""
    found: dict[str, Intervention] = {}
    for number, one in enumerate(sets.iter_rows(named=True)):
        if one["directions"] is not None:
            rows_ND, device = np.array(one["directions"]), latents.W_WD.device
            found[str(number)] = Projected.out_of(rows_ND, latents.encoder.d_in, device)
        elif one["latents"] is not None:
            found[str(number)] = Without(latents, np.array(one["latents"], dtype=np.int64))
        else:
            found[str(number)] = {"nothing": Nothing, "all": lambda: Without(latents)}[one["kind"]]()
    return found


def other_texts(files: list[str], *, seed: int, shard: int = 0, shards: int = 1) -> list[str]:
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
    """Write the folder `out`: hidden states (`passes.write_states`), divergence.parquet, answers.parquet.

    All examples are read as they are, those of the test split without each set. `others`: texts whose next-token
    predictions are compared, of a model with a head. `prompts`: of the data set, where the model answered them; those
    of the test split are answered without each set too.
    """
    ablations, place = ablations_of(sets, latents), latents.place
    plain = {name: one for name, one in ablations.items() if isinstance(one, Nothing)}
    taken = {name: one for name, one in ablations.items() if name not in plain}
    changes = {name: acting(place, one, pool_massive=pool_massive) for name, one in taken.items()}
    layers, test = later(place[0], len(model.blocks)), examples.filter(split="test")
    with atomic(out) as part:
        for rows, several in ((examples, plain), (test, taken)):
            if len(rows):
                options = {"max_tokens": max_tokens, "pool_massive": pool_massive}
                write_states(model, place, rows, several, layers, part, **options)
        write_parquet(part / "divergence.parquet", divergence(model, others, changes, max_tokens))
        changed = []
        if prompts is not None:
            prompts = prompts.filter(pl.col("id").cast(pl.String).is_in(test["id"].implode()))
        if prompts is not None and len(prompts):
            before = answer(model, prompts, max_tokens=max_tokens)
            for name, change in changes.items():
                after = answer(model, prompts, max_tokens=max_tokens, change=change)
                changed += _changes(int(name), prompts, before, after)
        write_parquet(part / "answers.parquet", pl.DataFrame(changed, schema=ANSWERS))


def divergence(model: TextModel, texts: list[str], changes: dict[str, Change], max_tokens: int) -> pl.DataFrame:
    """A row per change: KL(plain ‖ changed) of the next token in nats, mean over the content tokens of all texts."""
    if not texts:
        return pl.DataFrame(schema=DIVERGENCE)
    found = moved(model, texts, changes, max_tokens=max_tokens)
    kl = pl.col("kl").sum() / pl.col("tokens").sum()
    sums = found.group_by("set", maintain_order=True).agg(pl.len().alias("texts"), pl.col("tokens").sum(), kl)
    return sums.cast(DIVERGENCE)


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
