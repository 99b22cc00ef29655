"""Any transformers text model: load it, tokenise for it, and read the residual stream after its blocks."""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig

from tessera.config import count_layers, resolve
from tessera.errors import TesseraError

logger = logging.getLogger("tessera")

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # padded tokens per forward pass


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


@dataclass
class Tokens:
    """Tokenised examples: per example its token ids [T] and which of them are content tokens [T]."""

    ids: list[np.ndarray]
    content: list[np.ndarray]
    truncated: np.ndarray

    @property
    def content_counts_E(self) -> np.ndarray:
        return np.array([mask.sum() for mask in self.content], dtype=np.int64)


@dataclass
class Batch:
    """One forward pass: B examples padded on the right to T tokens."""

    examples: np.ndarray  # [B], positions in the list of Tokens
    ids_BT: np.ndarray
    content_BT: np.ndarray
    residuals: dict[int, torch.Tensor]  # layer → [B, T, d], on the model's device


def load_model(name: str, spec: dict, source: dict, *, seed: int) -> TextModel:
    """Load the model `name` in inference mode; a control draws the weights of its architecture anew from `seed`.

    `spec` is the model's entry in the config (of a control, with control_of), `source` the entry that names
    architecture and tokenizer.

    Raises:
        TesseraError: the files are not there, are not what the config says, or hold no stack of blocks.
    """
    place, options = _place(name, source)
    device = _device(name, spec["device"])
    dtype = _dtype(spec["dtype"], device)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        if "control_of" not in spec:
            options |= {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
            module, loaded = AutoModel.from_pretrained(place, **options)
            missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
        else:
            torch.manual_seed(seed)
            module, missing = AutoModel.from_config(config, dtype=dtype), []
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TesseraError(f"config key models.{name}: {str(place)!r} cannot be loaded: {reason}") from error
    if missing:
        raise TesseraError(
            f"config key models.{name}: the weights in {str(place)!r} lack {len(missing)} tensors, such as {missing[0]}"
        )
    if len(tokenizer) <= len(special_ids(tokenizer)) + 1:
        raise TesseraError(f"config key models.{name}: {str(place)!r} has no tokenizer files")
    _check_length(name, spec["max_tokens"], config)
    module = module.to(device).eval().requires_grad_(False)
    return TextModel(module, tokenizer, find_blocks(module, config))


def _place(name: str, source: dict) -> tuple[str | Path, dict]:
    if "hub" in source:
        return source["hub"], {"revision": source.get("revision")}
    folder = resolve(source["path"])
    if "sha256" in source:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise TesseraError(f"config key models.{name}.sha256: there is no file {str(weights)!r}")
        with weights.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != source["sha256"]:
            raise TesseraError(f"config key models.{name}.sha256: model.safetensors in {str(folder)!r} has {found}")
    return folder, {"local_files_only": True}


def _device(name: str, device: str) -> str:
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
    bos = _missing_bos(model.tokenizer) if prepend_bos else []
    room = max_tokens - len(bos)
    options = {"add_special_tokens": True, "padding": False, "verbose": False}
    encoded = model.tokenizer(texts, truncation=True, max_length=room, **options)["input_ids"]
    ids = [np.array(bos + row, dtype=np.int64) for row in encoded]
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


def _missing_bos(tokenizer) -> list[int]:
    """The BOS token that `tokenizer` has but does not put in front by itself."""
    if tokenizer.bos_token_id is None:
        raise TesseraError("prepend_bos: the tokenizer has no BOS token")
    return [] if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else [tokenizer.bos_token_id]


def plan_batches(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Groups of examples, longest first, whose padded size (members × longest) stays within `budget` tokens."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


class _Stop(Exception):
    """Ends a forward pass after the deepest block that was asked for."""


@torch.inference_mode()
def residuals(model: TextModel, tokens: Tokens, layers: list[int], budget: int | None = None) -> Iterator[Batch]:
    """One forward pass per batch: the residual stream AFTER each block in `layers` (`resid_post`).

    The pass stops after the deepest of them. Hooks, not `hidden_states`: the last of those lies behind the final norm.
    `budget` is the padded tokens per pass; where the device runs out of memory, it is halved and the batch tried again.
    """
    if max(layers) >= len(model.blocks):
        last = len(model.blocks) - 1
        raise TesseraError(f"a pass asks for layer {max(layers)}; the model has {last + 1} layers, 0 to {last}")
    budget = budget or BATCH_TOKENS[model.device.type]
    lengths = np.array([len(row) for row in tokens.ids])
    pending = plan_batches(lengths, budget)[::-1]
    done, total, started, reported = 0, int(lengths.sum()), time.monotonic(), time.monotonic()
    while pending:
        examples = pending.pop()
        try:
            batch = _forward(model, tokens, examples, layers)
        except torch.OutOfMemoryError:
            rest = np.concatenate([examples, *pending[::-1]])
            budget = max(int(lengths[examples].max()), budget // 2)
            if len(examples) == 1:
                raise TesseraError(
                    f"out of memory with one text of {lengths[examples[0]]} tokens: lower max_tokens"
                ) from None
            logger.warning("out of memory: batch_tokens halved to %d", budget)
            torch.cuda.empty_cache()
            pending = [rest[part] for part in plan_batches(lengths[rest], budget)][::-1]
            continue
        yield batch
        done += int(lengths[examples].sum())
        now = time.monotonic()
        if now - reported > 10 or not pending:
            rate = done / (now - started)
            logger.info("%d of %d tokens, %.0f tokens/s, %.0f s left", done, total, rate, (total - done) / rate)
            reported = now


def _forward(model: TextModel, tokens: Tokens, examples: np.ndarray, layers: list[int]) -> Batch:
    longest = max(len(tokens.ids[example]) for example in examples)
    pad = model.tokenizer.pad_token_id or 0
    ids_BT = np.full((len(examples), longest), pad, dtype=np.int64)
    mask_BT = np.zeros((len(examples), longest), dtype=np.int64)
    content_BT = np.zeros((len(examples), longest), dtype=bool)
    for row, example in enumerate(examples):
        length = len(tokens.ids[example])
        ids_BT[row, :length] = tokens.ids[example]
        mask_BT[row, :length] = 1
        content_BT[row, :length] = tokens.content[example]
    found: dict[int, torch.Tensor] = {}

    def keep(layer: int):
        def hook(_module, _inputs, output):
            found[layer] = output[0] if isinstance(output, tuple) else output
            if layer == max(layers):
                raise _Stop

        return hook

    handles = [model.blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        model.module(
            input_ids=torch.from_numpy(ids_BT).to(model.device),
            attention_mask=torch.from_numpy(mask_BT).to(model.device),
        )
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return Batch(examples, ids_BT, content_BT, found)
