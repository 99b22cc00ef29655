"""A model steered along directions: how far, what it answers and writes then, and what that does to other texts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError
from tessera.base.files import atomic, write_parquet
from tessera.interventions.acting import acting, not_massive
from tessera.interventions.consequences import write_consequences
from tessera.interventions.kinds import Added, Clamped, Intervention
from tessera.interventions.latents import Latents
from tessera.interventions.passes import write_states
from tessera.models.forward import Batch, Change, forward
from tessera.models.generating import generate
from tessera.models.text import TextModel, special_ids

VARIANTS = {"variant": pl.Int64, "draw": pl.Int64, "controls": pl.Boolean, "alpha": pl.Float64, "unit": pl.Float64}


@dataclass
class Steered:
    """A model at a place (layer, hook), and what to do there: a row of `variants` each, the first one nothing.

    of: the intervention of a batch whose rows have these variants; of one variant alone, all its rows have it.
    where: the tokens that it acts on.
    """

    model: TextModel
    place: tuple[int, str]
    variants: pl.DataFrame
    of: Callable[[np.ndarray], Intervention]
    where: str
    max_tokens: int
    pool_massive: bool

    def change(self, variants_B: np.ndarray) -> Change:
        return acting(self.place, self.of(variants_B), pool_massive=self.pool_massive, where=self.where)

    @property
    def changes(self) -> Iterator[tuple[int, Change]]:
        for variant in range(len(self.variants)):
            yield variant, self.change(np.array([variant]))


def steered(
    model: TextModel,
    place: tuple[int, str],
    directions: pl.DataFrame,
    alphas: list[float],
    neutral: list[str],
    latents: Callable[[], Latents],
    *,
    where: str,
    max_tokens: int,
    pool_massive: bool,
) -> Steered:
    """Every draw of `directions` at every α: α × unit × vector is added; the unit is `mean_norm` of neutral texts.

    Of a draw that is clamped its latent is held at α × its largest activation, which is the unit there; the SAE is
    loaded where there is one.

    Raises:
        TesseraError: directions are of another size than the states.
    """
    unit = mean_norm(model, place, neutral, max_tokens=max_tokens, pool_massive=pool_massive)
    if len(directions["vector"][0]) != model.d_model:
        raise TesseraError(
            f"a direction of {len(directions['vector'][0])} dimensions, and the model has {model.d_model}"
        )
    clamped = directions["largest"].is_not_null().all()
    rows = [(0, None, False, 0.0, directions["largest"][0] if clamped else unit)]
    rows += [
        (number + 1, one["draw"], one["controls"], alpha, one["largest"] if clamped else unit)
        for number, (one, alpha) in enumerate(product(directions.iter_rows(named=True), alphas))
    ]
    variants = pl.DataFrame(rows, schema=VARIANTS, orient="row")
    far_V, draws_V = (variants["alpha"] * variants["unit"]).to_numpy(), np.arange(len(rows) - 1) // len(alphas)
    if clamped:
        latent_V = np.array([one[0] for one in directions["latents"]])[np.append(0, draws_V)]
        value_V, sae = np.append(np.nan, far_V[1:]), latents()
        return Steered(
            *(model, place, variants, lambda rows_B: Clamped(sae, latent_V[rows_B], value_V[rows_B])),
            *(where, max_tokens, pool_massive),
        )
    vectors_VD = np.array(directions["vector"].to_list(), dtype=np.float32)[np.append(0, draws_V)]
    vectors_VD = torch.from_numpy(vectors_VD * far_V[:, None].astype(np.float32)).to(model.device)
    return Steered(
        *(model, place, variants, lambda rows_B: Added(vectors_VD[torch.from_numpy(rows_B).to(model.device)])),
        *(where, max_tokens, pool_massive),
    )


def mean_norm(
    model: TextModel, place: tuple[int, str], texts: list[str], *, max_tokens: int, pool_massive: bool
) -> float:
    """Mean norm of the state at `place`, over the pooled tokens of texts."""

    def norms(batch: Batch) -> np.ndarray:
        state_BTD = batch.states[place[0]]
        pooled_BT = batch.content_BT if pool_massive else not_massive(state_BTD, batch.content_BT)
        state_ND = state_BTD[torch.from_numpy(pooled_BT).to(state_BTD.device)]
        return torch.linalg.vector_norm(state_ND.double(), dim=1).cpu().numpy()

    tokens = model.read(texts, max_tokens=max_tokens)
    return float(np.concatenate([*forward(model, tokens, dict([place]), norms)]).mean())


def steer(
    steered: Steered,
    neutral: list[str],
    out: Path,
    *,
    answered: pl.DataFrame | None,
    prompts: pl.DataFrame | None,
    tokens: int,
    samples: int,
    seed: int,
    read: tuple[pl.DataFrame, int] | None,
) -> None:
    """Write the folder `out`: variants.parquet, and of every variant what follows from it.

    What `write_consequences` writes; prompts.parquet and written.parquet: texts to continue (column text), and what the
    model writes after them (`models.generating.generate`); hidden/set=<variant>: pooled states at a later layer, of the
    examples to `read`, but for the plain model of those of the test split. Of a model without a head this alone.
    """
    model, options = steered.model, {"max_tokens": steered.max_tokens}
    changes = {str(variant): change for variant, change in steered.changes}
    with atomic(out) as part:
        write_parquet(part / "variants.parquet", steered.variants)
        if read is not None:
            examples, layer = read
            several = {name: change.of.intervention for name, change in changes.items()}
            settings = options | {"pool_massive": steered.pool_massive, "where": steered.where}
            plain = {"0": several.pop("0")}  # a probe is fitted on its training split
            for rows, some in ((examples, plain), (examples.filter(split="test"), several)):
                write_states(model, steered.place, rows, some, [layer], part, **settings)
        write_consequences(model, changes, neutral, answered, part, max_tokens=steered.max_tokens, where=steered.where)
        if prompts is not None:
            write_parquet(part / "prompts.parquet", prompts)
            written = generate(
                model,
                model.read(prompts["text"].to_list(), **options),
                variants=len(steered.variants),
                change=steered.change,
                where=steered.where,
                max_new_tokens=tokens,
                samples=samples,
                seed=seed,
            )
            write_parquet(part / "written.parquet", written)


def with_content(model: TextModel, texts: pl.Series) -> pl.Series:
    """The texts that have a content token for a model, each once."""
    special, distinct = special_ids(model.tokenizer), texts.filter(texts.str.strip_chars() != "").unique().sort()
    ids = model.tokenizer(distinct.to_list(), add_special_tokens=False, verbose=False)["input_ids"]
    return distinct.filter(pl.Series([bool({*row} - {*special}) for row in ids], dtype=pl.Boolean))
