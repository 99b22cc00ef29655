"""A model of texts: its tokens, which of them are content, and what a forward pass reads."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError
from tessera.models.chat import Chat, covering, within

LEAST, STEP = 8, 4  # tokens that a text is padded to at least, and a multiple of what
TOKENISED_AT_ONCE = 1000  # texts: the tokenizer's own records of a text are large
# Ids, first and last (exclusive) that are the text's, where these stand in it (of a fast tokenizer), was it cut.
Row = tuple[list[int], tuple[int, int], np.ndarray | None, bool]


@dataclass
class Tokens:
    """Tokenised examples: per example its token ids [T] and which of them are content tokens [T].

    `images`: the encoded images that a model of images is run on. `places`: per example where its content tokens stand,
    under the names of columns: start and end, characters of the text (of a slow tokenizer, which does not know: piece,
    what a token says); row and column, of the patches of an image. `most`: what texts are cut to.
    """

    ids: list[np.ndarray]
    content: list[np.ndarray]
    truncated: np.ndarray
    images: list[bytes] | None = None
    places: dict[str, list[np.ndarray]] = field(default_factory=dict)
    most: int | None = None

    @property
    def padded_E(self) -> np.ndarray:
        """Tokens [E] of each example in a pass. Padding depends on no other text, and so no bit of a state does.

        (The sums of attention over more padding round otherwise.)
        """
        return padded(np.array([len(row) for row in self.ids]), self.most)

    @property
    def content_counts_E(self) -> np.ndarray:
        return np.array([mask.sum() for mask in self.content], dtype=np.int64)

    def first(self, number: int) -> "Tokens":
        """The first `number` examples."""
        images = None if self.images is None else self.images[:number]
        return replace(
            self,
            ids=self.ids[:number],
            content=self.content[:number],
            truncated=self.truncated[:number],
            images=images,
            places={name: place[:number] for name, place in self.places.items()},
        )


def padded(lengths: np.ndarray, most: int | None = None) -> np.ndarray:
    """Lengths rounded up to multiples of STEP, LEAST or more, where that is no more than a model may read."""
    rounded = np.maximum(LEAST, -(-lengths // STEP) * STEP)
    return rounded if most is None else np.minimum(rounded, np.maximum(lengths, most))


@dataclass
class Inputs:
    """What one forward pass reads: B examples, padded on the right to T tokens."""

    ids_BT: np.ndarray
    content_BT: np.ndarray
    arguments: dict[str, torch.Tensor]  # of the module's forward, on its device


@dataclass
class TextModel:
    """A transformers base model (no head) with its tokenizer and the modules of its residual blocks.

    `bos`: the token, if any, to put in front of what the tokenizer makes of a text. `chat`: the template that it is
    read in, of a chat model.
    """

    module: torch.nn.Module
    tokenizer: object
    blocks: torch.nn.ModuleList
    bos: list[int] = field(default_factory=list, kw_only=True)
    chat: Chat | None = field(default=None, kw_only=True)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def d_model(self) -> int:
        return self.module.get_input_embeddings().embedding_dim

    def read(self, contents: list[str], *, max_tokens: int) -> Tokens:
        """The tokens of texts; see `tokenise`.

        Raises:
            TesseraError: they are images.
        """
        if isinstance(contents[0], bytes):
            raise TesseraError("the data set holds images and the model reads texts: say reads: image for this model")
        return tokenise(self, contents, max_tokens)

    def inputs(self, tokens: Tokens, examples: np.ndarray) -> Inputs:
        """What a forward pass over `examples`, positions in `tokens`, reads."""
        longest = padded(np.array([len(tokens.ids[example]) for example in examples]), tokens.most).max()
        ids_BT = np.full((len(examples), longest), self.tokenizer.pad_token_id or 0, dtype=np.int64)
        mask_BT = np.zeros((len(examples), longest), dtype=np.int64)
        content_BT = np.zeros((len(examples), longest), dtype=bool)
        for row, example in enumerate(examples):
            length = len(tokens.ids[example])
            ids_BT[row, :length] = tokens.ids[example]
            mask_BT[row, :length] = 1
            content_BT[row, :length] = tokens.content[example]
        arguments = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
        arguments = {name: tensor.to(self.device) for name, tensor in arguments.items()}
        return Inputs(ids_BT, content_BT, arguments)

    def save(self, folder: Path) -> None:
        """The module, and what reads for it, as transformers loads them."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def contents(examples: pl.DataFrame) -> list[str] | list[bytes]:
    """What a model reads of examples: their images, where they have any, else their texts."""
    return examples["image" if "image" in examples.columns else "text"].to_list()


def special_ids(tokenizer) -> np.ndarray:
    """Ids of the tokens that stand for no text: padding, BOS, EOS, CLS, SEP, MASK and chat-template markers.

    The unknown token stands for text, so it is content (unless it doubles as one of those).
    """
    named = {"pad", "bos", "eos", "cls", "sep", "mask"}
    special = {getattr(tokenizer, f"{role}_token_id", None) for role in named} - {None}
    added = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return np.array(sorted(special | (added - {tokenizer.unk_token_id})), dtype=np.int64)


def tokenise(model: TextModel, texts: list[str], max_tokens: int) -> Tokens:
    """Token ids as the tokenizer makes them for one text (with its BOS, CLS, SEP …), cut to `max_tokens`.

    Of a chat model, the last token is the template's. Special tokens in a text are no content either.

    Raises:
        TesseraError: a text has no content token; the chat template changes a text, or leaves no room for one.
    """
    read, special = _alone if model.chat is None else _in_template, special_ids(model.tokenizer)
    ids, content, truncated = [], [], []
    places = {name: [] for name in (("start", "end") if model.tokenizer.is_fast else ("piece",))}
    for start in range(0, len(texts), TOKENISED_AT_ONCE):
        for row, (first, last), span_T2, cut in read(model, texts[start : start + TOKENISED_AT_ONCE], max_tokens):
            ids_T, place = np.array(row, dtype=np.int32), np.arange(len(row))
            content_T = (first <= place) & (place < last) & ~np.isin(row, special)
            if span_T2 is None:
                pieces = model.tokenizer.convert_ids_to_tokens(ids_T[content_T].tolist())
                where = [np.array([*map(sys.intern, pieces)], dtype=object)]  # a word of the vocabulary is kept once
            else:
                where = span_T2[content_T[first:last]].T
            for name, place_N in zip(places, where, strict=True):
                places[name].append(place_N)
            ids.append(ids_T)
            content.append(content_T)
            truncated.append(cut)
    empty = [index for index, mask in enumerate(content) if not mask.any()]
    if empty:
        raise TesseraError(
            f"{len(empty)} texts have no content token for this tokenizer; "
            f"remove them from the data set (the first is number {empty[0]} of the shard)"
        )
    return Tokens(ids, content, np.array(truncated, dtype=bool), places=places, most=max_tokens)


def _alone(model: TextModel, texts: list[str], max_tokens: int) -> Iterator[Row]:
    """Texts with what the tokenizer adds to each."""
    room, options = max_tokens - len(model.bos), {"padding": False, "verbose": False}
    fast = model.tokenizer.is_fast
    encoded = model.tokenizer(texts, truncation=True, max_length=room, return_offsets_mapping=fast, **options)
    rows, spans = encoded["input_ids"], map(_spans, encoded["offset_mapping"]) if fast else repeat(None)
    full = [index for index, row in enumerate(rows) if len(row) >= room]
    whole = model.tokenizer([texts[index] for index in full], truncation=False, **options)["input_ids"] if full else []
    cut = {index for index, row in zip(full, whole, strict=True) if len(row) > room}
    for index, (row, span_T2) in enumerate(zip(rows, spans, strict=False)):
        yield [*model.bos, *row], (len(model.bos), len(model.bos) + len(row)), span_T2, index in cut


def _in_template(model: TextModel, texts: list[str], max_tokens: int) -> Iterator[Row]:
    """Texts in the chat template, which stays whole: what is too long is cut off the end of the text."""
    wholes, starts, ends = zip(*map(model.chat.wrap, texts), strict=True)
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    encoded = model.tokenizer(list(wholes), **options)
    spans = map(_spans, encoded["offset_mapping"])
    for text, whole, row, span_T2, *place in zip(texts, wholes, encoded["input_ids"], spans, starts, ends, strict=True):
        first, last = (len(model.bos) + token for token in covering(span_T2, *place))
        row = [*model.bos, *row]
        excess = max(0, len(row) - max_tokens)
        if excess and excess >= last - first:
            raise TesseraError(
                f"config key {model.chat.key}: the template alone fills max_tokens ({max_tokens}); raise it"
            )
        here = slice(first - len(model.bos), last - excess - len(model.bos))
        span_T2 = within(span_T2[here], *place, whole, text)
        yield row[: last - excess] + row[last:], (first, last - excess), span_T2, excess > 0


def _spans(offsets: list[tuple[int, int]]) -> np.ndarray:
    """First and last (exclusive) character [T, 2] of tokens; `np.array` takes four times as long."""
    return np.fromiter(chain.from_iterable(offsets), np.int32, 2 * len(offsets)).reshape(-1, 2)


def missing_bos(tokenizer) -> list[int]:
    """The BOS token, where `tokenizer` has one but does not put it in front by itself."""
    bos = tokenizer.bos_token_id
    return [] if bos is None or tokenizer("a")["input_ids"][:1] == [bos] else [bos]


def added_behind(tokenizer) -> int:
    """Number of special tokens (EOS, SEP) that `tokenizer` puts behind every text."""
    ordinary_T = ~np.isin(tokenizer("a")["input_ids"], special_ids(tokenizer))
    return int(ordinary_T[::-1].argmax())
