"""What a causal language model answers: the given choice that it takes for the likeliest."""

import inspect
import logging

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError, shorten
from tessera.models.forward import BATCH_TOKENS, in_batches
from tessera.models.text import TextModel, missing_bos, special_ids

logger = logging.getLogger("tessera")


def answer(model: TextModel, prompts: pl.DataFrame, *, max_tokens: int, budget: int | None = None) -> pl.DataFrame:
    """Answer `prompts` (as `load_prompts` gives them) with the choice of the largest log-probability per token.

    Returns the prompts with the columns answer (the name of that choice; where the right one is known, correct or
    wrong), log_probability (mean over the choice's tokens, a list in the order of the choices), choice_tokens (their
    number) and cut (was the start of the prompt cut off to fit `max_tokens`).

    Raises:
        TesseraError: the tokenizer cannot say which text a token stands for, or a choice is too long.
    """
    counts_E = prompts["choices"].list.len().to_numpy()
    sequences, starts, cut = _tokenise(model, prompts["text"].to_list(), prompts["choices"].to_list(), max_tokens)
    lengths = np.array([len(row) for row in sequences])
    score = np.empty(len(sequences))
    logger.info("%d prompts, %d sequences of up to %d tokens", len(prompts), len(sequences), lengths.max())
    for rows, values in in_batches(
        lengths,
        budget or BATCH_TOKENS[model.device.type],
        lambda rows: (rows, _log_probabilities(model, [sequences[row] for row in rows], starts[rows])),
    ):
        score[rows] = values
    ends_E = np.cumsum(counts_E)
    best_E = [int(part.argmax()) for part in np.split(score, ends_E[:-1])]
    found = prompts.with_columns(
        answer=pl.Series([names[best] for names, best in zip(prompts["names"], best_E, strict=True)], dtype=pl.String),
        log_probability=pl.Series([part.tolist() for part in np.split(score, ends_E[:-1])]),
        choice_tokens=pl.Series([part.tolist() for part in np.split(lengths - starts, ends_E[:-1])]),
        cut=pl.Series([bool(part.any()) for part in np.split(cut, ends_E[:-1])]),
    )
    if found["cut"].any():
        logger.warning("%d of %d prompts cut to %d tokens, at their start", found["cut"].sum(), len(found), max_tokens)
    if "right" in found.columns:
        right = pl.Series(best_E, dtype=pl.Int64) == found["right"]
        found = found.with_columns(answer=pl.when(right).then(pl.lit("correct")).otherwise(pl.lit("wrong")))
    return found.drop("choices", "names")


def joined(prompt: str, choice: str) -> tuple[str, int]:
    """Prompt and choice as one text, and where the choice begins (with the space in front of it).

    One space stands between them: tokenizers take it into the choice's first word. A prompt that ends a line has none.
    """
    prompt = prompt.rstrip(" ")
    space = "" if prompt.endswith("\n") else " "
    return f"{prompt}{space}{choice.strip()}", len(prompt)


def _tokenise(
    model: TextModel, prompts: list[str], choices: list[list[str]], max_tokens: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Token ids, the number of tokens before the choice, and whether the prompt was cut, per prompt and choice.

    A prompt too long for its longest choice loses its start, the same for all its choices.
    """
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise TesseraError("the tokenizer has no fast version, which alone says what text each token stands for")
    bos, special = missing_bos(tokenizer), special_ids(tokenizer)
    sequences, starts, cut = [], [], []
    for prompt, several in zip(prompts, choices, strict=True):
        whole = [_sequence(tokenizer, bos, prompt, choice) for choice in several]
        excess = max(0, *(len(ids) - max_tokens for ids, _ in whole))
        for choice, (ids, first) in zip(several, whole, strict=True):
            lead = int(ids[0] in special)  # a BOS token stays when the prompt is cut
            if first - lead <= excess and excess:
                raise TesseraError(
                    f"choice {shorten(choice)} leaves no room for its prompt in max_tokens, {max_tokens}"
                )
            sequences.append(np.append(ids[:lead], ids[lead + excess :]))
            starts.append(first - excess)
            cut.append(excess > 0)
    return sequences, np.array(starts), np.array(cut)


def _sequence(tokenizer, bos: list[int], prompt: str, choice: str) -> tuple[np.ndarray, int]:
    """Token ids of a prompt with a choice, and where the choice begins among them.

    The choice's tokens are those that end behind the prompt in the text, whatever the tokenizer makes of the joint.
    One BOS token stands in front where the tokenizer has one; what it puts at the end is left off.

    Raises:
        TesseraError: the choice, or what stands in front of it, has no token.
    """
    text, start = joined(prompt, choice)
    encoded = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids, ends = np.array(encoded["input_ids"]), np.array([end for _, end in encoded["offset_mapping"]])
    if ends.max(initial=0) <= start:
        raise TesseraError(f"choice {shorten(choice)} has no token for this tokenizer")
    last = np.flatnonzero(ends > 0)[-1] + 1  # behind it stand markers that the tokenizer adds
    ids, ends = np.append(bos, ids[:last]).astype(np.int64), np.append([0] * len(bos), ends[:last])
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:  # the prompt brings its own
        ids, ends = ids[1:], ends[1:]
    first = int(np.argmax(ends > start))
    if first == 0:
        raise TesseraError(f"prompt {shorten(prompt)} has no token in front of its choice {shorten(choice)}")
    return ids, first


def _log_probabilities(model: TextModel, sequences: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Mean log-probability [B] of the tokens from `starts` on, which are not the first of a sequence."""
    longest = max(map(len, sequences))
    ids_BT = torch.zeros((len(sequences), longest), dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, ids in enumerate(sequences):
        ids_BT[row, : len(ids)] = torch.from_numpy(ids)
        mask_BT[row, : len(ids)] = 1
    counts_B = np.array([len(ids) for ids in sequences]) - starts
    row_N = np.repeat(np.arange(len(sequences)), counts_B)
    place_N = np.concatenate([np.arange(start, len(ids)) for start, ids in zip(starts, sequences, strict=True)])
    kept = np.unique(place_N - 1)  # logits of a whole vocabulary are large: only where a choice's token comes next
    options = {"input_ids": ids_BT.to(model.device), "attention_mask": mask_BT.to(model.device), "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.module.forward).parameters:
        options["logits_to_keep"] = torch.from_numpy(kept).to(model.device)
    else:
        kept = np.arange(longest)
    with torch.inference_mode():
        logits_BKV = model.module(**options).logits
        logits_NV = logits_BKV[row_N, np.searchsorted(kept, place_N - 1)].float()
        chosen_N = ids_BT[row_N, place_N].to(model.device)
        log_N = logits_NV.gather(1, chosen_N[:, None])[:, 0] - logits_NV.logsumexp(dim=1)
    sums_B = np.bincount(row_N, weights=log_N.cpu().numpy().astype(np.float64), minlength=len(sequences))
    if not np.isfinite(sums_B).all():
        raise TesseraError("a log-probability is not finite; set dtype: float32 for this model")
    return sums_B / counts_B
