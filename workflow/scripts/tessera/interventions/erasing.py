"""A model with a subspace, or latents, erased: the states of labelled texts, its answers, other texts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from tessera.base.files import atomic
from tessera.interventions.acting import acting
from tessera.interventions.consequences import write_consequences
from tessera.interventions.kinds import Intervention, Nothing, Projected, Without
from tessera.interventions.latents import Latents
from tessera.interventions.passes import write_states
from tessera.models.text import TextModel


def interventions_of(erasers: pl.DataFrame, model: TextModel, latents: Callable[[], Latents]) -> list[Intervention]:
    """What each draw of `steering.erasers` takes out; the SAE is loaded where one takes out latents."""
    found: list[Intervention] = []
    for one in erasers.iter_rows(named=True):
        if one["latents"] is not None:
            found.append(Without(latents(), np.array(one["latents"], dtype=np.int64)))
        elif one["left"] is not None:
            left_DN, right_ND, centre_D = (np.array(one[part]) for part in ("left", "right", "centre"))
            found.append(Projected(left_DN, right_ND, centre_D, model.device))
        else:
            found.append(Nothing())
    return found


def erase(
    model: TextModel,
    place: tuple[int, str],
    erased: list[Intervention],
    examples: dict[str, pl.DataFrame],
    layers: list[int],
    neutral: list[str],
    answered: pl.DataFrame | None,
    out: Path,
    *,
    max_tokens: int,
    pool_massive: bool,
) -> None:
    """Write the folder `out`: data=<name>/hidden/set=<draw>/layer=…, states of all examples of each data set.

    And what `write_consequences` does, the number of a draw its variant.
    """
    options = {"max_tokens": max_tokens}
    with atomic(out) as part:
        several = {str(draw): one for draw, one in enumerate(erased)}
        for data, rows in examples.items():
            write_states(
                model, place, rows, several, layers, part / f"data={data}", **options, pool_massive=pool_massive
            )
        changes = {name: acting(place, one, pool_massive=pool_massive) for name, one in several.items()}
        write_consequences(model, changes, neutral, answered, part, **options)
