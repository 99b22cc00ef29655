"""The tokens that directions in the residual stream speak for, by a model's final norm and unembedding alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from tessera.base.errors import TesseraError
from tessera.models.blocks import find_blocks
from tessera.saes.preparing import WRITTEN

LOGITS_AT_ONCE = 2**26
LOCAL = {"local_files_only": True, "trust_remote_code": False}
COLUMNS = {
    "latent_row": pl.UInt32,
    "promoted": pl.List(pl.String),
    "promoted_logit": pl.List(pl.Float32),
    "suppressed": pl.List(pl.String),
    "suppressed_logit": pl.List(pl.Float32),
}


@torch.inference_mode()
def writes(W_ND: torch.Tensor, folder: Path, hook: str, top: int = 10) -> tuple[pl.DataFrame | None, str | None]:
    """The `top` tokens that each of N directions at `hook` promotes and suppresses most; None, and why, of no such.

    By W_U (norm(direction) − norm(0)), of the model in `folder`. A row per direction: latent_row (its index), promoted
    and promoted_logit, suppressed and suppressed_logit, lists, the strongest first.

    Raises:
        TesseraError: the folder's weights cannot be read.
    """
    if hook not in WRITTEN:
        return None, f"{hook} is not in the space of the residual stream, which the unembedding reads"
    config = AutoConfig.from_pretrained(folder, **LOCAL)
    causal = _skeleton(config)
    if causal is None:
        return None, f"a model of architecture {', '.join(config.architectures or ['unknown'])} predicts no next token"
    path = _final_norm(causal, config)
    if path is None:
        return None, f"{type(causal).__name__} has no final norm that stands behind its blocks"
    norm, W_VD = _read(causal, path, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    W_VD = W_VD[: len(tokenizer)]  # rows behind are padding
    rows, size = [], max(1, LOGITS_AT_ONCE // len(W_VD))
    zero_D = norm(torch.zeros_like(W_VD[0]))
    for chunk_ND in W_ND.float().cpu().split(size):
        logits_NV = (norm(chunk_ND) - zero_D) @ W_VD.T
        most, least = (logits_NV.topk(min(top, len(W_VD)), largest=largest) for largest in (True, False))
        for promoted, high, suppressed, low in zip(
            *(part.tolist() for part in (most.indices, most.values, least.indices, least.values)), strict=True
        ):
            rows.append((len(rows), _spelt(tokenizer, promoted), high, _spelt(tokenizer, suppressed), low))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row"), None


def _spelt(tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.decode([id]) for id in ids]


def _skeleton(config: PretrainedConfig) -> PreTrainedModel | None:
    """The causal model that a folder holds, without memory for its weights; None if it holds none with a head."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(config)
    held = type(causal).__name__ in (config.architectures or []) and causal.get_output_embeddings() is not None
    return causal if held else None


def _final_norm(causal: PreTrainedModel, config: PretrainedConfig) -> str | None:
    """The last norm outside the blocks."""
    inside = set(find_blocks(causal, config).modules())
    norms = [
        path
        for path, module in causal.named_modules()
        if "norm" in type(module).__name__.lower() and module not in inside
    ]
    return norms[-1] if norms else None


def _read(causal: PreTrainedModel, path: str, folder: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """The norm at `path` with its weights, and the unembedding [V, d], both in float32."""
    norm, head = causal.get_submodule(path), causal.get_output_embeddings().weight
    heads = [name for name, tensor in causal.named_parameters(remove_duplicate=False) if tensor is head]  # tied: two
    names = [f"{path}.{name}" for name in norm.state_dict()]
    files = dict(_stored(causal, folder))
    missing = [name for name in names if name not in files]
    stored = next((name for name in heads if name in files), None)
    if missing or stored is None:
        raise TesseraError(f"{folder}: the weights lack {[*missing, *heads][0]}, so tokens cannot be told")
    tensors = {}
    for name in (*names, stored):
        file, key = files[name]
        with safe_open(file, "pt") as opened:
            tensors[name] = opened.get_tensor(key).float()
    norm = norm.to_empty(device="cpu").float()
    norm.load_state_dict({name.removeprefix(f"{path}."): tensors[name] for name in names})
    return norm, tensors[stored]


def _stored(causal: PreTrainedModel, folder: Path) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Name in the model of every tensor in its weight files, its file and its name there, which may be an older one."""
    index, file = folder / "model.safetensors.index.json", folder / "model.safetensors"
    try:
        if index.exists():
            files = {key: folder / name for key, name in json.loads(index.read_text())["weight_map"].items()}
        else:
            with safe_open(file, "pt") as opened:
                files = dict.fromkeys(opened.keys(), file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise TesseraError(f"{folder} has no readable safetensors weights ({error})") from error
    renamings = [one for one in get_model_conversion_mapping(causal) if isinstance(one, WeightRenaming)]
    state = causal.state_dict()
    for key, file in files.items():
        yield rename_source_key(key, renamings, [], causal.base_model_prefix, state)[0], (file, key)
