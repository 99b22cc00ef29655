"""A model of texts: its tokens, which of them are content, and what a forward pass reads."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError

logger = logging.getLogger("tessera")
TOKENISED_AT_ONCE = 1000  # texts: the tokenizer's own records of a text are large


@dataclass
class Tokens:
    """Tokenised examples: per example its token ids [T] and which of them are content tokens [T].

    `images`: the encoded images that a model of images is run on.
    """

    ids: list[np.ndarray]
    content: list[np.ndarray]
    truncated: np.ndarray
    images: list[bytes] | None = None

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
        )


@dataclass
class Inputs:
    """What one forward pass reads: B examples, padded on the right to T tokens."""

    ids_BT: np.ndarray
    content_BT: np.ndarray
    position_BT: np.ndarray | None  # of a token among the content tokens, for images; else its place in the row
    arguments: dict[str, torch.Tensor]  # of the module's forward, on its device


@dataclass
class TextModel:
    """A transformers base model (no head) with its tokenizer and the modules of its residual blocks."""

    module: torch.nn.Module
    tokenizer: object
    blocks: torch.nn.ModuleList

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def d_model(self) -> int:
        return self.module.get_input_embeddings().embedding_dim

    def read(self, contents: list[str], *, max_tokens: int, prepend_bos: bool = False) -> Tokens:
        """The tokens of texts; see `tokenise`.

        Raises:
            TesseraError: they are images.
        """
        if isinstance(contents[0], bytes):
            raise TesseraError("the data set holds images and the model reads texts: say reads: image for this model")
        return tokenise(self, contents, max_tokens, prepend_bos=prepend_bos)

    def inputs(self, tokens: Tokens, examples: np.ndarray) -> Inputs:
        """What a forward pass over `examples`, positions in `tokens`, reads."""
        longest = max(len(tokens.ids[example]) for example in examples)
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
        return Inputs(ids_BT, content_BT, None, arguments)

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


def tokenise(model: TextModel, texts: list[str], max_tokens: int, *, prepend_bos: bool = False) -> Tokens:
    """Token ids as the tokenizer makes them for one text (with its BOS, CLS, SEP …), cut to `max_tokens`.

    `prepend_bos` puts the BOS token in front where the tokenizer does not.

    Raises:
        TesseraError: a text has no content token, or there is no BOS token to prepend.
    """
    if prepend_bos and model.tokenizer.bos_token_id is None:
        raise TesseraError("prepend_bos: the tokenizer has no BOS token")
    bos = missing_bos(model.tokenizer) if prepend_bos else []
    room = max_tokens - len(bos)
    options = {"add_special_tokens": True, "padding": False, "verbose": False}
    ids = [
        np.array(bos + row, dtype=np.int32)
        for start in range(0, len(texts), TOKENISED_AT_ONCE)
        for row in model.tokenizer(
            texts[start : start + TOKENISED_AT_ONCE], truncation=True, max_length=room, **options
        )["input_ids"]
    ]
    special = special_ids(model.tokenizer)
    content = [~np.isin(row, special) for row in ids]
    empty = [index for index, mask in enumerate(content) if not mask.any()]
    if empty:
        raise TesseraError(
            f"{len(empty)} texts have no content token for this tokenizer; "
            f"remove them from the data set (the first is number {empty[0]} of the shard)"
        )
    truncated = np.zeros(len(texts), dtype=bool)
    full = np.array([index for index, row in enumerate(ids) if len(row) >= max_tokens], dtype=np.int64)
    if len(full):
        whole = model.tokenizer([texts[index] for index in full], truncation=False, **options)["input_ids"]
        truncated[full] = [len(row) > room for row in whole]
    return Tokens(ids, content, truncated)


def missing_bos(tokenizer) -> list[int]:
    """The BOS token, where `tokenizer` has one but does not put it in front by itself."""
    bos = tokenizer.bos_token_id
    return [] if bos is None or tokenizer("a")["input_ids"][:1] == [bos] else [bos]
