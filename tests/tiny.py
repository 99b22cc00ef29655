"""Tiny models, tokenizers, SAEs and texts, made on the spot with random weights."""

import json
from pathlib import Path

import torch
from tessera.models.loading import load_model
from tessera.models.text import TextModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Olmo2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)

ARCHITECTURES = ("bert", "gemma2", "llama", "gpt2", "gpt_neox")
FINAL_NORM = ("gemma2", "llama", "gpt2", "gpt_neox")
HIDDEN = 32
LAYERS = 4
POSITIONS = 64

# Made up; quark, zebra and plinth are outside the vocabulary.
TEXTS = [
    "the cat sat",
    "a small dog ran over the hill and along the river to a red house near the old mill",
    "rain",
    "quark the moon zebra",
    "old birds sing in the red morning while rain falls on the mill",
    "the river and the moon",
    "a plinth",
]
UNKNOWN = {"quark", "zebra", "plinth"}
WORDS = sorted({word for text in TEXTS for word in text.split()} - UNKNOWN)

ROLES = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "gemma2": {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>"},
    "llama": {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"},
    "gpt2": {"unk": "<unk>", "eos": "<|endoftext|>", "pad": "<pad>"},
    "gpt_neox": {"eos": "<|endoftext|>", "pad": "<|padding|>", "unk": "<unk>"},
    "olmo2": {"eos": "<|endoftext|>", "pad": "<pad>", "unk": "<unk>"},
}
TEMPLATES = {"bert": "[CLS] $A [SEP]", "gemma2": "<bos> $A", "llama": "<s> $A"}
ADDED = {"bert": 2, "gemma2": 1, "llama": 1, "gpt2": 0, "gpt_neox": 0}  # special tokens per text


def save_model(architecture: str, folder: Path, seed: int = 0, causal: bool = False, tokenizer=None, **changes) -> Path:
    """Save a random model of `architecture`, its config changed, with `tokenizer` (its word-level one) to `folder`.

    `causal`: with the head that predicts the next token.
    """
    tokenizer = tokenizer or make_tokenizer(architecture)
    config = make_config(architecture, tokenizer)
    config.update(changes)
    torch.manual_seed(seed)
    auto = AutoModelForCausalLM if causal else AutoModel
    auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(architecture: str) -> PreTrainedTokenizerFast:
    """A fast tokenizer: a token per word, special tokens first in the vocabulary."""
    roles = ROLES[architecture]
    vocabulary = {token: number for number, token in enumerate([*roles.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=roles["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if architecture in TEMPLATES:
        special = [(token, vocabulary[token]) for token in roles.values()]
        tokenizer.post_processor = processors.TemplateProcessing(single=TEMPLATES[architecture], special_tokens=special)
    named = {f"{role}_token": token for role, token in roles.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def make_config(architecture: str, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    """Wide enough initial weights that attention matters: a token left unmasked changes the others."""
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    common = {"vocab_size": len(tokenizer), "initializer_range": 0.2, **ids}
    sizes = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
    }
    grouped = {"num_key_value_heads": 2, "head_dim": 8}
    match architecture:
        case "bert":
            return BertConfig(**common, **sizes)
        case "gemma2":
            return Gemma2Config(**common, **sizes, **grouped, query_pre_attn_scalar=8, sliding_window=8)
        case "llama":
            return LlamaConfig(**common, **sizes, **grouped)
        case "gpt2":
            return GPT2Config(**common, n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=POSITIONS)
        case "gpt_neox":
            return GPTNeoXConfig(**common, **sizes)
        case "olmo2":
            return Olmo2Config(**common, **sizes)
    raise ValueError(architecture)


def model_spec(folder: Path, **changes) -> dict:
    """A model's entry in the config as the defaults fill it in, for a model folder."""
    return {
        "path": str(folder),
        "device": "cpu",
        "dtype": "float32",
        "max_tokens": 32,
        "prepend_bos": "auto",
        "chat": False,
        "activation_dtype": "float16",
        **changes,
    }


def identity(spec: dict, architecture: dict | None = None, *, name: str = "small", seed: int = 0) -> dict:
    """What `load_model` takes: a model's entry, and that of the model whose architecture it uses (itself)."""
    return {"name": name, "spec": spec, "architecture": architecture or spec, "seed": seed}


def load(folder: Path, causal: bool = False, **changes) -> TextModel:
    """The model of a folder, on the CPU in float32, its entry in the config changed."""
    return load_model(identity(model_spec(folder, **changes)), causal=causal)


def save_sae(
    folder: Path,
    architecture: str,
    *,
    width: int,
    d_in: int = HIDDEN,
    seed: int = 0,
    apply_b_dec_to_input: bool = True,
    negative: bool = False,
    k: int = 5,
    **options,
) -> Path:
    """Save a random SAE with SAELens; per token some latents fire and most do not.

    `negative`: every other JumpReLU threshold is below zero.
    """
    from sae_lens import (
        GatedSAE,
        GatedSAEConfig,
        JumpReLUSAE,
        JumpReLUSAEConfig,
        StandardSAE,
        StandardSAEConfig,
        TopKSAE,
        TopKSAEConfig,
    )

    sizes = {"d_in": d_in, "d_sae": width, "apply_b_dec_to_input": apply_b_dec_to_input, **options}
    match architecture:
        case "jumprelu":
            sae = JumpReLUSAE(JumpReLUSAEConfig(**sizes))
        case "standard":
            sae = StandardSAE(StandardSAEConfig(**sizes))
        case "gated":
            sae = GatedSAE(GatedSAEConfig(**sizes))
        case "topk":
            sae = TopKSAE(TopKSAEConfig(**sizes, k=k))
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(d_in, width, generator=generator) / d_in**0.5
    with torch.no_grad():
        sae.W_enc.copy_(encoder)
        norms = 0.5 + torch.rand(width, 1, generator=generator)
        sae.W_dec.copy_(torch.nn.functional.normalize(encoder.T, dim=1) * norms)
        sae.b_dec.copy_(0.3 * torch.randn(d_in, generator=generator))
        if architecture == "gated":
            sae.b_gate.copy_(-0.5 + 0.1 * torch.randn(width, generator=generator))
            sae.b_mag.copy_(0.1 * torch.randn(width, generator=generator))
            sae.r_mag.copy_(0.3 * torch.randn(width, generator=generator))
        elif architecture != "topk":
            sae.b_enc.copy_(-0.5 + 0.1 * torch.randn(width, generator=generator))
        if architecture == "jumprelu":
            sae.threshold.copy_(0.1 + torch.rand(width, generator=generator))
            if negative:
                sae.threshold[::2] *= -1
    sae.save_model(folder)
    return folder


# Architectures that only SAELens encodes, with options that leave most latents of a token silent.
RARE = {
    "abstopk": {"k": 5},
    "transcoder": {"d_out": 24},
    "skip_transcoder": {"d_out": 24},
    "jumprelu_transcoder": {"d_out": 24},
    "jumprelu_skip_transcoder": {"d_out": 24},
    "temporal": {"n_heads": 2, "bottleneck_factor": 8, "kval_topk": 5},
    "matching_pursuit": {"max_iterations": 5},
}


def save_rare_sae(folder: Path, architecture: str, *, width: int, d_in: int = HIDDEN, seed: int = 0, **options) -> Path:
    """Save an SAE of `RARE` with SAELens, every tensor random."""
    from sae_lens.registry import get_sae_class

    sizes = {"d_in": d_in, "d_sae": width, "apply_b_dec_to_input": "transcoder" not in architecture}
    sae_class, config_class = get_sae_class(architecture)
    sae = sae_class(config_class(**sizes | RARE[architecture] | options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, tensor in sorted(sae.named_parameters()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / d_in**0.5)
        sae.W_dec.copy_(torch.nn.functional.normalize(sae.W_dec, dim=1))
    sae.save_model(folder)
    return folder


def change_sae(folder: Path, **values) -> None:
    """Replace keys of a saved SAE's cfg.json."""
    file = folder / "cfg.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
