"""The unlabelled texts that a match is found on, and their tokens, where two models read them as the same tokens."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base.files import read_parquet, row_groups
from tessera.examples.splits import shuffled
from tessera.study import paths

logger = logging.getLogger("tessera")
TOKENS_MOST = 100_000  # tokens to match over
PLACE = ["example", "position"]
AGREE_LEAST = 0.5  # of the texts; two tokenizers that share a vocabulary agree on nearly all


def training_texts(examples: pl.DataFrame) -> np.ndarray:
    """Row numbers of the training split's texts, each once, in the order of the examples."""
    rows = examples.sort("example").with_row_index("row").filter(split="train")
    return rows.unique("text", keep="first", maintain_order=True)["row"].to_numpy()


def sampled_texts(examples: pl.DataFrame, hidden: list[Path], budget: int, seed: int) -> np.ndarray:
    """Example numbers of training texts, in random order, until `budget` pooled tokens are there."""
    tables = [read_parquet(file, ["example", "tokens"]) for file in hidden]
    counts = pl.concat([pl.DataFrame(pl.from_arrow(table)) for table in tables])
    texts = shuffled(examples.sort("example")[training_texts(examples)], seed).join(
        counts, on="example", maintain_order="left"
    )
    return np.sort(texts.filter(pl.col("tokens").cum_sum() <= budget)["example"].to_numpy())


@dataclass
class Tokens:
    """Pooled tokens of some texts, examples ascending.

    example_N: their examples. position_N: their numbers among the content tokens of these. id_N: what they are, of
    patches of an image where they are.
    """

    example_N: np.ndarray
    position_N: np.ndarray
    id_N: np.ndarray
    acts_NW: sp.csr_array


def read_tokens(shards: list[Path], file: str, wanted: np.ndarray, width: int) -> Tokens:
    """The tokens of the texts `wanted` in some shards; `file`: of latents, in each."""
    rows, parts = [], []
    for shard in shards:
        for group in row_groups(shard / file, [*PLACE, "latent", "activation"]):
            chosen = np.flatnonzero(np.isin(group["example"].to_numpy(), wanted))
            latents, values = (group[name].chunk(0) for name in ("latent", "activation"))
            data = values.values.to_numpy().astype(np.float32), latents.values.to_numpy().astype(np.int32)
            acts_NW = sp.csr_array((*data, latents.offsets.to_numpy()), shape=(len(group), width))
            rows.append(pl.DataFrame({name: group[name].to_numpy()[chosen] for name in PLACE}))
            parts.append(acts_NW[chosen])
    found = pl.concat(rows).join(_read_ids(shards, wanted), on=PLACE, how="left", maintain_order="left")
    order = np.argsort(found["example"].to_numpy(), kind="stable")  # an example's tokens stand together, in their order
    return Tokens(*(found[name].to_numpy()[order] for name in (*PLACE, "id")), sp.vstack(parts, format="csr")[order])


def _read_ids(shards: list[Path], wanted: np.ndarray) -> pl.DataFrame:
    """What the content tokens of the texts `wanted` are: a row each, with its place and `id`."""
    rows = []
    for shard in shards:
        for group in map(pl.DataFrame, row_groups(shard / paths.TOKENS)):
            patch = pl.col("row") * 2**16 + pl.col("column")
            id = pl.col("token_id") if "token_id" in group.columns else patch
            rows.append(group.filter(np.isin(group["example"].to_numpy(), wanted)).select(*PLACE, id=id))
    return pl.concat(rows)


def shared(a: Tokens, b: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tokens that both sides have, of the texts that both read as the same tokens.

    Either side may have left out massive tokens that the other has.
    """
    places = [one.example_N.astype(np.int64) << 32 | one.position_N.astype(np.int64) for one in (a, b)]
    _, here, there = np.intersect1d(*places, assume_unique=True, return_indices=True)
    apart = np.unique(a.example_N[here][a.id_N[here] != b.id_N[there]])
    same = ~np.isin(a.example_N[here], apart)
    return here[same], there[same]


def align(a: list[Tokens], b: list[Tokens], names: list[str]) -> dict[str, sp.csr_array] | None:
    """Both sides' activations on the same tokens, data set after data set.

    None, and a line in the log, where the models' tokenizers differ.
    """
    sides: dict[str, list[sp.csr_array]] = {"a": [], "b": []}
    texts = agreed = 0
    for one, other in zip(a, b, strict=True):
        here, there = shared(one, other)
        sides["a"].append(one.acts_NW[here])
        sides["b"].append(other.acts_NW[there])
        texts, agreed = texts + len(np.unique(one.example_N)), agreed + len(np.unique(one.example_N[here]))
    if agreed < AGREE_LEAST * texts:
        logger.warning(
            "%s read %d of %d texts as the same tokens: too few to match over tokens, examples only",
            " and ".join(names), agreed, texts,
        )  # fmt: skip
        return None
    logger.info(
        "%s read %d of %d texts as the same tokens: matched over tokens too", " and ".join(names), agreed, texts
    )
    return {side: sp.vstack(parts, format="csr") for side, parts in sides.items()}
