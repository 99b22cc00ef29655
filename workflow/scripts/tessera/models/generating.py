"""Text that a causal language model writes after prompts, with a change in its forward pass."""

import logging
from collections.abc import Callable

import numpy as np
import polars as pl
import torch
from transformers import Cache

from tessera.base.errors import TesseraError
from tessera.models.forward import ALL, BATCH_TOKENS, CONTENT, LAST, Change, in_batches, predict
from tessera.models.text import TextModel, Tokens, added_behind, special_ids

logger = logging.getLogger("tessera")


@torch.inference_mode()
def generate(
    model: TextModel,
    tokens: Tokens,
    *,
    variants: int,
    change: Callable[[np.ndarray], Change | None] | None,
    where: str,
    max_new_tokens: int,
    samples: int,
    seed: int,
    budget: int | None = None,
) -> pl.DataFrame:
    """What a causal model writes after the prompts `tokens`, in each of `variants` variants of its forward pass.

    `change` gives, for the variants [B] of a batch's rows, the change of its passes, or None (itself None: no change).
    Changed are the tokens of the prompt that `where` says (content, all, last), and every token written: each was the
    last when the next was chosen. What stands in front of them is computed once per prompt, for all variants and
    samples. (The first blocks make the same of later tokens too, but a pass cannot begin in the middle of a model.)

    Sample 0 takes the likeliest token. Further `samples` are drawn at temperature 1 by the Gumbel-max rule: the
    likeliest after noise, which belongs to the prompt, sample and step, whatever the variant and the batch, so that
    variants are compared on the same luck. A batch has prompts of one length and no padding. `budget` is its tokens,
    those to be written among them; see `in_batches`.

    Returns:
        A row per prompt, variant and sample (their numbers, in this order): text, without special tokens; ids; ended
        (by a token that ends texts, then the last of ids, not by `max_new_tokens`).

    Raises:
        TesseraError: the model has no head, keeps no cache, reads fewer tokens, or has no such layer or hook; a
            prediction is not finite; one text alone does not fit.
    """
    prompts = _prompts(model, tokens, where)
    lengths_P = np.array([len(ids_T) for ids_T, _ in prompts], dtype=np.int64)
    _check_length(model, lengths_P.max(), max_new_tokens)
    rows_N3 = np.indices((len(prompts), variants, 1 + samples)).reshape(3, -1).T
    ends, written = _ends(model), [[]] * len(rows_N3)
    change = change or (lambda variant_B: None)
    logger.info("%d prompts, %d texts of up to %d tokens", len(prompts), len(rows_N3), max_new_tokens)

    def work(rows: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
        return rows, _write(model, prompts, rows_N3[rows], change, ends, max_new_tokens, seed)

    sizes_N = lengths_P[rows_N3[:, 0]] + max_new_tokens
    for rows, texts in in_batches(sizes_N, budget or BATCH_TOKENS[model.device.type], work):
        for row, ids in zip(rows, texts, strict=True):
            written[row] = ids
    special = {*special_ids(model.tokenizer).tolist()}
    plain = [[token for token in ids if token not in special] for ids in written]
    return pl.DataFrame(
        {
            **dict(zip(("prompt", "variant", "sample"), rows_N3.T, strict=True)),
            "text": model.tokenizer.batch_decode(plain, clean_up_tokenization_spaces=False),
            "ids": pl.Series(written, dtype=pl.List(pl.Int32)),
            "ended": np.isin([ids[-1] for ids in written], ends),
        }
    )


def _prompts(model: TextModel, tokens: Tokens, where: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids [T] of each prompt, without what the tokenizer puts behind a text, and which of them are to be changed."""
    behind = added_behind(model.tokenizer) if model.chat is None else 0
    prompts = []
    for ids_T, content_T in zip(tokens.ids, tokens.content, strict=True):
        ids_T = ids_T[: len(ids_T) - behind].astype(np.int64)
        place = np.arange(len(ids_T))
        changed_T = {CONTENT: content_T[: len(ids_T)], ALL: place >= 0, LAST: place == len(ids_T) - 1}[where]
        prompts.append((ids_T, changed_T))
    return prompts


def _check_length(model: TextModel, longest: int, max_new_tokens: int) -> None:
    limit = getattr(model.module.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and longest + max_new_tokens > limit:
        raise TesseraError(
            f"{max_new_tokens} tokens are to follow a prompt of {longest}, but the model reads at most {limit}; lower "
            f"its max_tokens"
        )


def _ends(model: TextModel) -> np.ndarray:
    """Tokens that end a text: the tokenizer's EOS, and those of the generation config (in chats, the end of a turn)."""
    config = getattr(model.module, "generation_config", None)
    found = (model.tokenizer.eos_token_id, getattr(config, "eos_token_id", None))
    return np.unique(np.concatenate([np.atleast_1d(ids) for ids in found if ids is not None] or [[]]))


def _write(
    model: TextModel,
    prompts: list[tuple[np.ndarray, np.ndarray]],
    rows_R3: np.ndarray,
    change: Callable[[np.ndarray], Change | None],
    ends: np.ndarray,
    max_new_tokens: int,
    seed: int,
) -> list[list[int]]:
    """Tokens that are written in R rows (prompt, variant, sample), whose prompts are of one length."""
    numbers_P, of_R = np.unique(rows_R3[:, 0], return_inverse=True)
    ids_PT, changed_PT = map(np.stack, zip(*(prompts[number] for number in numbers_P), strict=True))
    now, cache, start = change(rows_R3[:, 1]), None, 0
    shared = ids_PT.shape[1] - 1 if now is None else int(changed_PT.any(axis=0).argmax())
    if shared and len(numbers_P) < len(rows_R3):
        _, cache = _read(model, ids_PT[:, :shared], None, None, changed_PT[:, :shared])
        cache.reorder_cache(torch.from_numpy(of_R))  # the one way to choose rows that every kind of layer has
        start = shared
    ids_RT, changed_RT = ids_PT[of_R, start:], changed_PT[of_R, start:]
    written, rows = [[] for _ in rows_R3], np.arange(len(rows_R3))
    for step in range(max_new_tokens):
        logits_RV, cache = _read(model, ids_RT, cache, now, changed_RT)
        next_R = _choose(logits_RV, rows_R3[rows], seed, step)
        for row, token in zip(rows, next_R.tolist(), strict=True):
            written[row].append(token)
        going = np.flatnonzero(~np.isin(next_R, ends))
        if len(going) == 0:
            break
        if len(going) < len(rows):
            rows, next_R = rows[going], next_R[going]
            now = change(rows_R3[rows, 1])
            cache.reorder_cache(torch.from_numpy(going))
        ids_RT, changed_RT = next_R[:, None], np.ones((len(rows), 1), dtype=bool)
    return written


def _read(
    model: TextModel, ids_BT: np.ndarray, cache: Cache | None, change: Change | None, changed_BT: np.ndarray
) -> tuple[torch.Tensor, Cache]:
    """Logits [B, V] of what follows the tokens `ids_BT` behind those of `cache`, and the cache with them."""
    arguments = {"input_ids": torch.from_numpy(ids_BT).to(model.device), "use_cache": True}
    if cache is not None:
        arguments["past_key_values"] = cache
    output = predict(model, arguments, change, changed_BT, np.array([ids_BT.shape[1] - 1]))
    if getattr(output, "past_key_values", None) is None:
        raise TesseraError(
            f"{type(model.module).__name__} keeps no past_key_values, without which no text is generated"
        )
    return output.logits[:, 0].float(), output.past_key_values


def _choose(logits_RV: torch.Tensor, rows_R3: np.ndarray, seed: int, step: int) -> np.ndarray:
    """The next token of rows (prompt, variant, sample)."""
    drawn = np.flatnonzero(rows_R3[:, 2] > 0)
    if len(drawn):
        draws_N2, of = np.unique(rows_R3[drawn][:, [0, 2]], axis=0, return_inverse=True)
        generators = [np.random.default_rng([seed, *draw, step]) for draw in draws_N2]
        waits_NV = np.array([one.standard_exponential(logits_RV.shape[1]) for one in generators], dtype=np.float32)
        logits_RV[drawn] -= torch.from_numpy(waits_NV).to(logits_RV.device).log()[of]  # Gumbel: -log of an exponential
    best_R, next_R = logits_RV.max(dim=1)
    if not best_R.isfinite().all():
        raise TesseraError("a prediction is not finite; set dtype: float32 for this model")
    return next_R.cpu().numpy()
