"""A random-weight Gemma 2 with a word-level tokenizer, random JumpReLU SAEs and texts, made on the spot."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, Gemma2Config, PreTrainedTokenizerFast

VOCABULARY = 32000
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
SIZES = {  # the last two are those of Gemma 2 2B and 9B
    "small": {"hidden_size": 512, "num_hidden_layers": 12, "intermediate_size": 2048, "num_attention_heads": 8},
    "2b": {"hidden_size": 2304, "num_hidden_layers": 26, "intermediate_size": 9216, "num_attention_heads": 8},
    "9b": {"hidden_size": 3584, "num_hidden_layers": 42, "intermediate_size": 14336, "num_attention_heads": 16},
}
HEADS = {"small": (4, 64), "2b": (4, 256), "9b": (8, 256)}  # key-value heads, their size


def save_model(folder: Path, size: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
    torch.manual_seed(0)
    key_value, head = HEADS[size]
    ids = {f"{role}_token_id": index for index, role in enumerate(("pad", "eos", "bos"))}
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        num_key_value_heads=key_value,
        head_dim=head,
        query_pre_attn_scalar=head,
        max_position_embeddings=1024,
        **ids,
        **SIZES[size],
    )
    with torch.device(device):
        AutoModel.from_config(config, dtype=dtype).save_pretrained(folder)
    words = {f"w{index}": index for index in range(len(SPECIAL), VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(SPECIAL)} | words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    roles = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)


def texts(number: int, mean_words: int = 60, seed: int = 0) -> pl.DataFrame:
    """Lengths spread as those of real texts are: log-normal, cut at 8 × the mean."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(np.log(mean_words) - 0.32, 0.8, number), 3, 8 * mean_words).astype(int)
    rows = [" ".join(f"w{word}" for word in generator.integers(4, VOCABULARY, size)) for size in lengths]
    return pl.DataFrame({"example": np.arange(number, dtype=np.uint32), "text": rows})


def save_sae(folder: Path, states_ND: torch.Tensor, layer: int, width: int, l0: int = 70) -> None:
    """A random SAE whose thresholds let about `l0` latents fire on tokens like `states_ND`."""
    d = states_ND.shape[1]
    generator = torch.Generator().manual_seed(layer * 1000 + width)
    W_DW = torch.randn(d, width, generator=generator) / d**0.5
    sample = (states_ND[:64].float() @ W_DW).flatten()
    threshold = sample.kthvalue(int(len(sample) * (1 - l0 / width))).values
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=width, apply_b_dec_to_input=False))
    with torch.no_grad():
        sae.W_enc.copy_(W_DW)
        sae.W_dec.copy_(W_DW.T)
        sae.threshold.fill_(threshold)
    sae.cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    sae.save_model(folder)


def save_study(
    root: Path, size: str, number: int, layers: list[int], widths: list[int], dtype=torch.float32, device="cpu"
) -> None:
    """Model, texts, and the SAEs of every layer × width, as SAELens saves them and prepared for the extractor."""
    from tessera.models.forward import catch
    from tessera.models.loading import load_model
    from tessera.models.text import tokenise
    from tessera.saes.preparing import prepare

    save_model(root / "model", size, dtype, device)
    examples = texts(number)
    examples.write_parquet(root / "examples.parquet")
    model = load_model(identity(root), depth=max(layers) + 1)
    tokens = tokenise(model, examples["text"].head(8).to_list(), 512)
    caught = catch(model, tokens, np.arange(8), dict.fromkeys(layers, "resid_post"))
    content_BT = torch.from_numpy(caught.content_BT)
    for layer in layers:
        states_ND = caught.states[layer].cpu()[content_BT]
        for width in widths:
            folder = root / "saes" / f"{layer}-{width}"
            save_sae(folder, states_ND, layer, width)
            prepare(folder, encoder(root, layer, width), folder / "decoder.safetensors", width=width, layer=layer)


def spec(root: Path, **changes) -> dict:
    defaults = {"device": "auto", "dtype": "auto", "max_tokens": 512, "prepend_bos": "auto", "chat": False}
    return {"path": str(root / "model")} | defaults | changes


def identity(root: Path, **changes) -> dict:
    """What `load_model` takes."""
    entry = spec(root, **changes)
    return {"name": "benchmark", "spec": entry, "architecture": entry, "seed": 0}


def encoder(root: Path, layer: int, width: int) -> Path:
    return root / "encoders" / f"{layer}-{width}.safetensors"
