"""The unlabelled texts that a match is found on, and their tokens, where two models read them as the same tokens."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.base.files import read_parquet, row_groups
from tessera.examples.splits import shuffled

logger = logging.getLogger("tessera")
TOKENS_MOST = 100_000  # content tokens to match over
AGREE_LEAST = 0.5  # of the texts; two tokenizers that share a vocabulary agree on nearly all


def training_texts(examples: pl.DataFrame) -> np.ndarray:
    """Row numbers of the training split's texts, each once, in the order of the examples."""
    rows = examples.sort("example").with_row_index("row").filter(split="train")
    return rows.unique("text", keep="first", maintain_order=True)["row"].to_numpy()


def sampled_texts(examples: pl.DataFrame, hidden: list[Path], budget: int, seed: int) -> np.ndarray:
    """Example numbers of training texts, in random order, until `budget` content tokens are there."""
    tables = [read_parquet(file, ["example", "tokens"]) for file in hidden]
    counts = pl.concat([pl.DataFrame(pl.from_arrow(table)) for table in tables])
    texts = shuffled(examples.sort("example")[training_texts(examples)], seed).join(
        counts, on="example", maintain_order="left"
    )
    return np.sort(texts.filter(pl.col("tokens").cum_sum() <= budget)["example"].to_numpy())


def read_tokens(files: list[Path], wanted: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, sp.csr_array]:
    """Example [N], token id [N] and activations [N, width] of the content tokens of `wanted`, examples ascending."""
    examples, ids, parts = [], [], []
    for file in files:
        for group in row_groups(file, ["example", "token_id", "latent", "activation"]):
            chosen = np.flatnonzero(np.isin(group["example"].to_numpy(), wanted))
            latents, values = (group[name].chunk(0) for name in ("latent", "activation"))
            data = values.values.to_numpy().astype(np.float32), latents.values.to_numpy().astype(np.int32)
            acts_NW = sp.csr_array((*data, latents.offsets.to_numpy()), shape=(len(group), width))
            examples.append(group["example"].to_numpy()[chosen])
            ids.append(group["token_id"].to_numpy()[chosen])
            parts.append(acts_NW[chosen])
    example_N = np.concatenate(examples)
    order = np.argsort(example_N, kind="stable")  # an example's tokens stand together, in their order
    return example_N[order], np.concatenate(ids)[order], sp.vstack(parts, format="csr")[order]


def agreeing(example_N: np.ndarray, id_N: np.ndarray, example_M: np.ndarray, id_M: np.ndarray) -> np.ndarray:
    """The examples that both models read as the same content tokens, of two lists with ascending examples."""
    counted = [np.unique(example, return_counts=True) for example in (example_N, example_M)]
    examples, rows, others = np.intersect1d(counted[0][0], counted[1][0], return_indices=True)
    same = examples[counted[0][1][rows] == counted[1][1][others]]
    here, there = np.isin(example_N, same), np.isin(example_M, same)
    apart = np.unique(example_N[here][id_N[here] != id_M[there]])
    return np.setdiff1d(same, apart)


def align(a: list[tuple], b: list[tuple], names: list[str]) -> dict[str, sp.csr_array] | None:
    """Both sides' activations on the same tokens, data set after data set, from what `read_tokens` gives.

    None, and a line in the log, where the models' tokenizers differ.
    """
    sides: dict[str, list[sp.csr_array]] = {"a": [], "b": []}
    texts = agreed = 0
    for (example_N, id_N, acts_NV), (example_M, id_M, acts_MW) in zip(a, b, strict=True):
        common = agreeing(example_N, id_N, example_M, id_M)
        sides["a"].append(acts_NV[np.isin(example_N, common)])
        sides["b"].append(acts_MW[np.isin(example_M, common)])
        texts, agreed = texts + len(np.unique(example_N)), agreed + len(common)
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
