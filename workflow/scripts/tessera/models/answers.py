"""What a causal language model answers: the given choice that it takes for the likeliest."""

import logging

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError, shorten
from tessera.models.chat import covering
from tessera.models.forward import BATCH_TOKENS, CONTENT, LAST, Change, in_batches, predict
from tessera.models.text import TextModel, missing_bos, padded, special_ids

logger = logging.getLogger("tessera")


def answer(
    model: TextModel,
    prompts: pl.DataFrame,
    *,
    max_tokens: int,
    budget: int | None = None,
    change: Change | None = None,
    where: str = CONTENT,
) -> pl.DataFrame:
    """Answer `prompts` (as `load_prompts` gives them) with the choice of the largest log-probability per token.

    A chat model answers in its template. `change` is of the prompts' content tokens, not of template or choice; or
    (`where` is last) of the last token in front of the choice, and of the choice's.

    Returns the prompts with the columns answer (the name of that choice; where the right one is known, correct or
    wrong), log_probability (mean over the choice's tokens, a list in the order of the choices), choice_tokens (their
    number) and cut (was the start of the prompt cut off to fit `max_tokens`).

    Raises:
        TesseraError: the tokenizer cannot say which text a token stands for, or a choice is too long.
    """
    counts_E = prompts["choices"].list.len().to_numpy()
    texts, choices = prompts["text"].to_list(), prompts["choices"].to_list()
    sequences, starts, cut, content = _tokenise(model, texts, choices, max_tokens)
    if where == LAST:
        content = [np.arange(len(ids)) >= start - 1 for ids, start in zip(sequences, starts, strict=True)]
    lengths = np.array([len(row) for row in sequences])
    score = np.empty(len(sequences))
    groups = _alike(sequences, None if change is None else content)
    logger.info("%d prompts, %d sequences of up to %d tokens", len(prompts), len(groups), lengths.max())
    for rows, values in in_batches(
        padded(np.array([lengths[rows[0]] - 1 for rows in groups])),
        budget or BATCH_TOKENS[model.device.type],
        lambda batch: _log_probabilities(model, sequences, starts, content, [groups[one] for one in batch], change),
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
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, list[np.ndarray]]:
    """Per prompt and choice: token ids, number of tokens before the choice, was the prompt cut, its content tokens.

    A prompt too long for its longest choice loses its start, the same for all its choices; BOS and template stay.
    """
    if not model.tokenizer.is_fast:
        raise TesseraError("the tokenizer has no fast version, which alone says what text each token stands for")
    bos = missing_bos(model.tokenizer) if model.chat is None else model.bos
    special = special_ids(model.tokenizer)
    sequences, starts, cut, content = [], [], [], []
    for prompt, several in zip(prompts, choices, strict=True):
        whole = [_sequence(model, bos, prompt, choice) for choice in several]
        excess = max(0, *(len(ids) - max_tokens for ids, *_ in whole))
        for choice, (ids, start, (first, last)) in zip(several, whole, strict=True):
            if last - first <= excess and excess:
                raise TesseraError(
                    f"choice {shorten(choice)} leaves no room for its prompt in max_tokens, {max_tokens}"
                )
            sequences.append(np.append(ids[:first], ids[first + excess :]))
            starts.append(start - excess)
            cut.append(excess > 0)
            place = np.arange(len(sequences[-1]))
            content.append((first <= place) & (place < last - excess) & ~np.isin(sequences[-1], special))
    return sequences, np.array(starts), np.array(cut), content


def _sequence(model: TextModel, bos: list[int], prompt: str, choice: str) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Token ids of a prompt with a choice, where the choice begins among them, and first and last of the prompt's text.

    The choice's tokens are those that end behind the prompt in the text, whatever the tokenizer makes of the joint.
    One BOS token stands in front where the tokenizer has one, of a chat model where its template says so; what the
    tokenizer puts at the end is left off.

    Raises:
        TesseraError: the choice, or what stands in front of it, has no token.
    """
    chat = model.chat
    before, *place = (prompt, 0, len(prompt)) if chat is None else chat.wrap(prompt)
    text, end = joined(before, choice)
    options = {"add_special_tokens": chat is None, "return_offsets_mapping": True, "verbose": False}
    encoded = model.tokenizer(text, **options)
    ids, offset_T2 = np.array(encoded["input_ids"]), np.array(encoded["offset_mapping"]).reshape(-1, 2)
    if offset_T2[:, 1].max(initial=0) <= end:
        raise TesseraError(f"choice {shorten(choice)} has no token for this tokenizer")
    stop = np.flatnonzero(offset_T2[:, 1] > 0)[-1] + 1  # behind it stand markers that the tokenizer adds
    ids = np.append(bos, ids[:stop]).astype(np.int64)
    offset_T2 = np.concatenate([np.zeros((len(bos), 2), dtype=np.int64), offset_T2[:stop]])
    if len(ids) > 1 and ids[0] == ids[1] == model.tokenizer.bos_token_id:  # the prompt brings its own
        ids, offset_T2 = np.delete(ids, 1), np.delete(offset_T2, 1, axis=0)
    start = int(np.argmax(offset_T2[:, 1] > end))
    if start == 0:
        raise TesseraError(f"prompt {shorten(prompt)} has no token in front of its choice {shorten(choice)}")
    first, last = covering(offset_T2, *place)
    return ids, start, (first, min(start, last))


def _alike(sequences: list[np.ndarray], content: list[np.ndarray] | None) -> list[list[int]]:
    """Rows of sequences that differ in their last token at most, which no pass reads: one does for all of them.

    Where `content` tokens are changed, these are the same too: a word may be of the prompt here and of a choice there.
    """
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for row, ids in enumerate(sequences):
        changes = () if content is None else (content[row].tobytes(),)
        groups.setdefault((ids[:-1].tobytes(), *changes), []).append(row)
    return list(groups.values())


def _log_probabilities(
    model: TextModel,
    sequences: list[np.ndarray],
    starts: np.ndarray,
    content: list[np.ndarray],
    groups: list[list[int]],
    change: Change | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [R] of the sequences in B groups, and the mean log-probability of their tokens from `starts` on.

    These are not the first of a sequence; groups are those of `_alike`.
    """
    read = [sequences[rows[0]][:-1] for rows in groups]
    longest = max(map(len, read))
    ids_BT = torch.zeros((len(read), longest), dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    content_BT = np.zeros(ids_BT.shape, dtype=bool)
    for row, ids in enumerate(read):
        ids_BT[row, : len(ids)] = torch.from_numpy(ids)
        mask_BT[row, : len(ids)] = 1
        content_BT[row, : len(ids)] = content[groups[row][0]][:-1]
    rows_R = np.concatenate(groups)
    counts_R = np.array([len(sequences[row]) - starts[row] for row in rows_R])
    group_N = np.repeat(np.repeat(np.arange(len(groups)), [len(rows) for rows in groups]), counts_R)
    token_N = torch.from_numpy(np.concatenate([sequences[row][starts[row] :] for row in rows_R]))
    before_N = np.concatenate([np.arange(starts[row], len(sequences[row])) for row in rows_R]) - 1
    kept = np.unique(before_N)  # where a choice's token comes next
    options = {"input_ids": ids_BT.to(model.device), "attention_mask": mask_BT.to(model.device), "use_cache": False}
    asked_P2, asked_N = np.unique(np.stack([group_N, np.searchsorted(kept, before_N)]), axis=1, return_inverse=True)
    with torch.inference_mode():
        logits_BKV = predict(model, options, change, content_BT, kept).logits
        logits_PV = logits_BKV[asked_P2[0], asked_P2[1]].float()  # choices share places
        log_N = logits_PV[asked_N, token_N.to(model.device)] - logits_PV.logsumexp(dim=1)[asked_N]
    log_N = log_N.cpu().numpy().astype(np.float64)
    sums_R = np.bincount(np.repeat(np.arange(len(rows_R)), counts_R), weights=log_N, minlength=len(rows_R))
    if not np.isfinite(sums_R).all():
        raise TesseraError("a log-probability is not finite; set dtype: float32 for this model")
    return rows_R, sums_R / counts_R
