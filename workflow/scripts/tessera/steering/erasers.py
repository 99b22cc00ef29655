"""What may be erased: latents, subspaces of the residual stream that hold a label, and as a control random ones."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from tessera.evidence.choice import differences, largest, span
from tessera.steering.directions import Source
from tessera.steering.measures import NOTHING, RANDOM

SCHEMA = {
    "draw": pl.Int64,
    "latents": pl.List(pl.Int64),
    "left": pl.List(pl.List(pl.Float64)),
    "right": pl.List(pl.List(pl.Float64)),
    "centre": pl.List(pl.Float64),
}
Projection = tuple[np.ndarray, np.ndarray, np.ndarray]  # left [d, n], right [n, d], centre [d]


def _leace(source: Source) -> Projection:
    """The least change after which no linear probe of the mean states of training texts tells any class.

    LEACE (Belrose et al. 2023, arXiv 2306.03819); least by the covariance that the package shrinks, of any number of
    texts. It is an affine map, and so commutes with the mean over tokens: taken from the mean states, it erases from
    each token what it erases from the mean.
    """
    import torch  # as concept_erasure; the other erasers need neither
    from concept_erasure import LeaceEraser

    states_ED = torch.from_numpy(source.states_ED.astype(np.float64))
    labels_EC = torch.nn.functional.one_hot(torch.from_numpy(source.label_E)).double()
    # Its bound on the variance mixes in a projection that leaves part of the label.
    found = LeaceEraser.fit(states_ED, labels_EC, constrain_cov_trace=False, svd_tol=1e-6)
    kept = found.proj_right.norm(dim=1) > 0  # classes less one
    return found.proj_left[:, kept].numpy(), found.proj_right[kept].numpy(), found.bias.numpy()


def _difference(source: Source) -> Projection:
    """What the mean states of the classes differ by."""
    return _orthogonal(differences(source.task, source.hidden_ED))


PROJECTIONS: dict[str, Callable[[Source], Projection]] = {"leace": _leace, "difference": _difference}


def erasers(name: str, source: Source, draws: int) -> pl.DataFrame:
    """What to erase, a row per draw: latents to take out, or a projection x − left (right (x − centre)); or nothing.

    `probe`: the k latents that add most to telling the classes. `random`: subspaces as large as classes differ in.
    """
    rows = [(draw, *parts) for draw, parts in enumerate(_several(name, source, draws))]
    lists = [[value if value is None else value.tolist() for value in row[1:]] for row in rows]
    return pl.DataFrame([(row[0], *parts) for row, parts in zip(rows, lists, strict=True)], schema=SCHEMA, orient="row")


def _several(name: str, source: Source, draws: int) -> Iterator[tuple]:
    if name == NOTHING:
        yield None, None, None, None
    elif name == "probe":
        columns = largest(np.abs(source.telling(source.label_E)[1]).sum(axis=0), source.k)
        yield source.decision.latents_K[columns], None, None, None
    elif name == RANDOM:
        for draw in range(draws):
            size = (len(source.task.classes) - 1, source.hidden_ED.shape[1])
            yield None, *_orthogonal(np.random.default_rng([source.task.seed, draw]).normal(size=size))
    else:
        yield None, *PROJECTIONS[name](source)


def _orthogonal(rows_ND: np.ndarray) -> Projection:
    basis_ND = span(rows_ND)
    return basis_ND.T, basis_ND, np.zeros(basis_ND.shape[1])
