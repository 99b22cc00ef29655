"""GGUF files made on the spot: a header alone, or a tiny llama of 4-bit weights with a byte-level tokenizer."""

from pathlib import Path

import gguf
import tiny
import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "1 2", "a t", "Ċ Ċ"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
ROPE, EPSILON, HEADS, GROUPS = 50_000.0, 1e-5, 4, 2
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def save_header(file: Path, layers: int = tiny.LAYERS, positions: int = tiny.POSITIONS) -> Path:
    """A file of no tensors, with lists in front of what planning reads."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_array("general.languages", ["en", "de"])
    writer.add_array("general.numbers", [1, 2, 3])
    writer.add_block_count(layers)
    writer.add_context_length(positions)
    return _write(writer, file)


def save_gguf(file: Path, split: str | None = "smollm", *, without: str = "", scaled: bool = False) -> LlamaForCausalLM:
    """A file of a random llama, matrices in Q4_1 and embeddings in Q8_0; the model, with weights so rounded.

    Args:
        split: what the file says of how texts are split.
        without: the tensor that it lacks.
        scaled: with a tensor of scaled rotations.
    """
    model = _make_model()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(tiny.LAYERS)
    writer.add_context_length(tiny.POSITIONS)
    writer.add_embedding_length(tiny.HIDDEN)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_rope_freq_base(ROPE)
    writer.add_rope_dimension_count(tiny.HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    if split is not None:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        packed = _name(name)
        kind = Type.F32 if tensor.dim() == 1 else Type.Q8_0 if packed.startswith("token_embd") else Type.Q4_1
        heads = {"attn_q": HEADS, "attn_k": GROUPS}.get(packed.split(".")[-2])
        quantised = gguf.quantize((_paired(tensor, heads) if heads else tensor).numpy(), kind)
        rounded = torch.from_numpy(gguf.dequantize(quantised, kind))
        tensor.copy_(_halved(rounded, heads) if heads else rounded)
        if packed != without:
            writer.add_tensor(packed, quantised, raw_dtype=kind)
    if scaled:
        writer.add_tensor("rope_freqs.weight", torch.ones(4).numpy())
    _write(writer, file)
    return model


def _make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=tiny.HIDDEN,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        intermediate_size=64,
        max_position_embeddings=tiny.POSITIONS,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE},
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def _name(name: str) -> str:
    """What a GGUF file calls a tensor of a llama."""
    place, kind = name.rsplit(".", 1)
    if place in ENDS:
        return f"{ENDS[place]}.{kind}"
    _, _, layer, part = place.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def _paired(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of each head of queries or keys as llama.cpp rotates them: neighbours in pairs, not half with half."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _halved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Back again."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _write(writer: gguf.GGUFWriter, file: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
