"""Unpack a GGUF file: the folder of a transformers model with the same weights in float32."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.integrations.gguf import read_gguf_metadata
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from tessera.base.digests import sha256
from tessera.base.errors import TesseraError, shorten
from tessera.base.files import atomic
from tessera.examples.reading import first_line
from tessera.models.weights import DIGESTS

logger = logging.getLogger("tessera")

# llama.cpp's names of how a text is split before its bytes are merged: each digit apart and then as GPT-2 does, of
# which transformers knows nothing, and as GPT-2 does, which it does with all that it knows nothing of.
DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
AS_GPT2 = {
    *("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "a.x-4.0"),
    *("mellum", "modern-bert", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de"),
    "jina-v2-code",
}


def unpack(name: str, file: Path, out: Path, *, wanted: str | None = None) -> None:
    """Make the folder `out` of the GGUF file of the model `name`: weights, config, tokenizer, and hashes of them all.

    Args:
        wanted: the hash that the file must have; any where None.

    Raises:
        TesseraError: the file has another hash, or transformers cannot read all of it.
    """
    digest = sha256(file)
    if wanted not in (None, digest):
        raise TesseraError(f"config key models.{name}.sha256: {str(file)!r} has {digest}")
    if find_spec("gguf") is None:
        raise TesseraError(
            f"config key models.{name}.path: {str(file)!r} needs the Python package gguf (requirements.txt), and this "
            f"environment has none"
        )
    try:
        tokenizer, module, missing = _read(file)
    except Exception as error:  # each architecture fails in its own way
        raise TesseraError(
            f"config key models.{name}.path: {str(file)!r} cannot be unpacked: {first_line(error)}"
        ) from error
    if missing:
        raise TesseraError(
            f"config key models.{name}.path: {str(file)!r} lacks {len(missing)} tensors, such as {missing[0]}"
        )
    with atomic(out) as part:
        module.save_pretrained(part)
        tokenizer.save_pretrained(part)
        made = {made.name: sha256(made) for made in sorted(part.iterdir())}
        (part / DIGESTS).write_text(json.dumps({file.name: digest} | made, indent=2))
        for weights in part.glob("*.safetensors"):
            weights.chmod(0o644)  # safetensors writes 0600, which breaks shared clusters


def _read(file: Path) -> tuple[PreTrainedTokenizerFast, PreTrainedModel, list[str]]:
    """Tokenizer and module of a GGUF file, and what the file lacks of the module's tensors."""
    metadata, tensors = read_gguf_metadata(str(file))
    with TemporaryDirectory() as folder:  # beside the file, transformers would take a tokenizer.json for its tokenizer
        (Path(folder) / "model.gguf").symlink_to(file.resolve())
        options = {"gguf_file": "model.gguf", "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        module, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            **options,
        )
    if metadata.get("tokenizer.ggml.model") == "gpt2":
        _set_split(tokenizer, metadata.get("tokenizer.ggml.pre"), file.name)
    scaling = [name for name in (*metadata, *tensors) if ".rope.scaling.factor" in name or name.startswith("rope_")]
    rotations = getattr(module.config, "rope_parameters", None) or {}
    if scaling and rotations.get("rope_type", "default") == "default":
        logger.warning("%s: %s is not read; positions are rotated as if it were not there", file.name, scaling[0])
    return tokenizer, module, sorted(loaded["missing_keys"])


def _set_split(tokenizer: PreTrainedTokenizerFast, split: str | None, file: str) -> None:
    """Let a byte-level tokenizer split texts as its GGUF file says."""
    if split in DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif split not in AS_GPT2 | GGUF_PRE_TOKENIZER_SPLITS.keys():
        logger.warning(
            "%s: texts are split as GPT-2 splits them; its tokenizer.ggml.pre, %s, is not known here, so tokens may "
            "differ from those that the model was trained on",
            file,
            shorten(split),
        )
