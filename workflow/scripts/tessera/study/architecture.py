"""What a model's folder says of its architecture: config.json and the files beside it, read without transformers."""

from pathlib import Path

from tessera.base.errors import TesseraError
from tessera.study.gguf import is_gguf
from tessera.study.media import reads


def count_layers(model_config: dict) -> int | None:
    """Number of blocks in a transformers config.json, or None where it does not say."""
    for part in (model_config, model_config.get("text_config", {}), model_config.get("vision_config", {})):
        for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
            if isinstance(part.get(key), int):
                return part[key]
    return None


PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # one of them is beside a model of images
IMAGE_TOKEN = ("image_token_id", "image_token_index")


def stack_of(on_disk: dict, model: dict) -> dict:
    """The part of a config.json that the model's blocks belong to."""
    if "text_config" in on_disk and any(key in on_disk for key in IMAGE_TOKEN):
        return on_disk["text_config"]
    return on_disk.get("vision_config", on_disk) if reads(model) == "image" else on_disk


def check_reader(key: str, on_disk: dict, folder: Path, model: dict) -> None:
    """Does what is in a model folder, or in a GGUF file, read what the config says?"""
    if reads(model) == "image" and is_gguf(folder):
        raise TesseraError(
            f"config key {key}.reads: image, but {str(folder)!r} is a GGUF file, which holds text models"
        )
    if reads(model) == "image" and not any((folder / name).is_file() for name in PROCESSORS):
        raise TesseraError(
            f"config key {key}.reads: image, but {str(folder)!r} has no image processor ({' or '.join(PROCESSORS)})"
        )
    only_images = "patch_size" in on_disk and "vocab_size" not in on_disk and "text_config" not in on_disk
    if reads(model) == "text" and only_images:
        raise TesseraError(f"config key {key}: {str(folder)!r} is a vision model; say reads: image")
