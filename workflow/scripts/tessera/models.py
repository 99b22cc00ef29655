"""Any transformers model: load it, find its blocks, and tokenise for it. Models that read images: vision.py."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel

from tessera.config import count_layers, resolve
from tessera.errors import TesseraError
from tessera.io import sha256

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


def load_model(name: str, spec: dict, source: dict, *, seed: int, kind=AutoModel) -> TextModel:
    """Load the model `name` in inference mode; a control draws the weights of its architecture anew from `seed`.

    `kind` is the transformers class that loads it: without a head, or AutoModelForCausalLM.

    `spec` is the model's entry in the config (of a control, with control_of), `source` the entry that names
    architecture and tokenizer.

    Raises:
        TesseraError: the files are not there, are not what the config says, or hold no stack of blocks.
    """
    if spec.get("reads") == "image":
        from tessera.vision import load_image_model  # imports Pillow

        return load_image_model(name, spec, source, seed=seed)
    config, tokenizer, module, place = load_parts(
        name, spec, source, lambda config: AutoTokenizer, seed=seed, kind=kind
    )
    if len(tokenizer) <= len(special_ids(tokenizer)) + 1:
        raise TesseraError(f"config key models.{name}: {str(place)!r} has no tokenizer files")
    _check_length(name, spec["max_tokens"], config)
    return TextModel(module, tokenizer, find_blocks(module, config))


def load_parts(
    name: str, spec: dict, source: dict, reader: Callable, *, seed: int, kind=AutoModel
) -> tuple[PretrainedConfig, object, PreTrainedModel, str | Path]:
    """Config, tokenizer or processor (of the Auto class that `reader` gives for the config), frozen module and place.

    Errors as of `load_model`.
    """
    place, options = _place(name, source)
    device = pick_device(name, spec["device"])
    dtype = _dtype(spec["dtype"], device)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        reads = reader(config).from_pretrained(place, **options)
        if "control_of" not in spec:
            options |= {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
            module, loaded = kind.from_pretrained(place, **options)
            missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
        else:
            torch.manual_seed(seed)
            module, missing = kind.from_config(config, dtype=dtype), []
    except Exception as error:  # each architecture fails in its own way
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TesseraError(f"config key models.{name}: {str(place)!r} cannot be loaded: {reason}") from error
    if missing:
        raise TesseraError(
            f"config key models.{name}: the weights in {str(place)!r} lack {len(missing)} tensors, such as {missing[0]}"
        )
    return config, reads, module.to(device).eval().requires_grad_(False), place


def _place(name: str, source: dict) -> tuple[str | Path, dict]:
    if "hub" in source:
        return source["hub"], {"revision": source.get("revision"), "trust_remote_code": False}
    folder = resolve(source["path"])
    if "sha256" in source:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise TesseraError(f"config key models.{name}.sha256: there is no file {str(weights)!r}")
        found = sha256(weights)
        if found != source["sha256"]:
            raise TesseraError(f"config key models.{name}.sha256: model.safetensors in {str(folder)!r} has {found}")
    return folder, {"local_files_only": True, "trust_remote_code": False}


def pick_device(name: str, device: str) -> str:
    """`cpu` or `cuda`, for the device that the model's config asks for."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TesseraError(f"config key models.{name}.device: cuda, but torch sees no GPU here; allowed: auto, cpu")
    return device


def _dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return getattr(torch, dtype)


def _check_length(name: str, max_tokens: int, config: PretrainedConfig) -> None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and max_tokens > limit:
        raise TesseraError(f"config key models.{name}.max_tokens: {max_tokens}, but the model reads at most {limit}")


def find_blocks(module: torch.nn.Module, config: PretrainedConfig) -> torch.nn.ModuleList:
    """The one module list that has as many members as the model has layers.

    Raises:
        TesseraError: there is none, or there are several (an encoder-decoder model).
    """
    if config.is_encoder_decoder:
        raise TesseraError(f"{type(module).__name__} has an encoder and a decoder; supported are models with one stack")
    layers = count_layers(config.to_dict())
    found = {
        path: child
        for path, child in module.named_modules()
        if isinstance(child, torch.nn.ModuleList) and len(child) == layers
    }
    if len(found) != 1:
        raise TesseraError(
            f"{type(module).__name__}: found {len(found)} lists of {layers} blocks ({', '.join(found) or 'none'}); "
            f"supported are models with one stack"
        )
    return next(iter(found.values()))


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
