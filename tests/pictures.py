"""Tiny vision models with their processors, and pictures, made on the spot."""

import io
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from tiny import make_tokenizer
from transformers import AutoModel

transformers.logging.set_verbosity_error()

HIDDEN, LAYERS, SIZE, PATCH = 32, 3, 16, 4
PATCHES = (SIZE // PATCH) ** 2
SIZES = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
SQUARE = {"image_size": SIZE, "patch_size": PATCH}
WIDE = {"initializer_range": 0.2}  # wide enough that attention matters

# architecture → its config's class, options, and how many tokens stand in front of the patches
ENCODERS = {
    "vit": ("ViTConfig", {}, 1),
    "deit": ("DeiTConfig", {}, 2),
    "dinov2": ("Dinov2Config", {}, 1),
    "dinov2_registers": ("Dinov2WithRegistersConfig", {"num_register_tokens": 3}, 4),
    "dinov3": ("DINOv3ViTConfig", {"num_register_tokens": 2}, 3),
    "clip_vision": ("CLIPVisionConfig", {}, 1),
    "siglip_vision": ("SiglipVisionConfig", {}, 0),
}


def encoder_config(architecture: str):
    name, options, _ = ENCODERS[architecture]
    return getattr(transformers, name)(**SIZES, **SQUARE, **WIDE, **options)


def processor(size: int = SIZE):
    return transformers.ViTImageProcessor(size={"height": size, "width": size})


def save_encoder(architecture: str, folder: Path) -> Path:
    """Save a random vision encoder and its image processor."""
    return save(encoder_config(architecture), processor(), folder)


def save(config, reader, folder: Path) -> Path:
    torch.manual_seed(0)
    AutoModel.from_config(config, dtype=torch.float32).save_pretrained(folder)
    reader.save_pretrained(folder)
    return folder


def save_dual(folder: Path) -> Path:
    """A model of images and texts side by side, whose two stacks are equally deep."""
    config = transformers.CLIPConfig(
        vision_config={**SIZES, **SQUARE, **WIDE}, text_config={**SIZES, "vocab_size": 40}, projection_dim=HIDDEN
    )
    return save(config, processor(), folder)


def save_language(family: str, folder: Path, *, text_layers: int = 4) -> Path:
    """A random vision-language model with a word-level tokenizer, <image> among its tokens."""
    tokenizer = make_tokenizer("gemma2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text = {**SIZES, "num_hidden_layers": text_layers, "num_key_value_heads": 2, "vocab_size": len(tokenizer), **WIDE}
    vision, token = {**SIZES, **SQUARE, **WIDE}, tokenizer.convert_tokens_to_ids("<image>")
    if family == "paligemma":
        images = transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
        images.image_seq_length = PATCHES
        reader = transformers.PaliGemmaProcessor(images, tokenizer)
        config = transformers.PaliGemmaConfig(
            vision_config={**vision, "model_type": "siglip_vision_model", "projection_dim": HIDDEN},
            text_config={**text, "model_type": "gemma", "head_dim": 8},
            projection_dim=HIDDEN,
            hidden_size=HIDDEN,
            image_token_index=token,
        )
    else:
        images = transformers.CLIPImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        )
        reader = transformers.LlavaProcessor(
            images,
            tokenizer,
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )
        config = transformers.LlavaConfig(
            vision_config={**vision, "model_type": "clip_vision_model"},
            text_config={**text, "model_type": "llama"},
            image_token_index=token,
        )
    return save(config, reader, folder)


def spec(folder: Path, **changes) -> dict:
    return {"path": str(folder), "reads": "image", "device": "cpu", "dtype": "float32", "max_tokens": 32, **changes}


def picture(seed: int, size: tuple[int, int] = (20, 12)) -> Image.Image:
    """Coloured noise."""
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(256, size=(size[1], size[0], 3), dtype=np.uint8))


def encode(image: Image.Image, format: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


PICTURES = [encode(picture(seed, size)) for seed, size in enumerate([(20, 12), (8, 8), (16, 16), (40, 30), (9, 33)])]


def two_classes(size: int, seed: int = 0) -> tuple[list[bytes], np.ndarray]:
    """Pictures whose left or right half is bright, most of the time, and which."""
    generator = np.random.default_rng(seed)
    label = generator.integers(2, size=size)
    values = generator.integers(0, 120, size=(size, 8, 8, 3))
    side = np.where(generator.random(size) < 0.95, label, 1 - label)
    for row, right in enumerate(side):
        values[row, :, 4 * right : 4 * right + 4] += 100
    return [encode(Image.fromarray(value.astype(np.uint8))) for value in values], label
