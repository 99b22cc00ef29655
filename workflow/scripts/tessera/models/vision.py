"""Models that read images: vision encoders, whose patches are the tokens, and vision-language models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, PretrainedConfig, ViTImageProcessor

from tessera.base.errors import TesseraError
from tessera.examples.images import decode
from tessera.models.blocks import find_blocks
from tessera.models.devices import pick_device
from tessera.models.forward import run
from tessera.models.parts import load_parts
from tessera.models.text import Inputs, TextModel, Tokens


@dataclass
class ImageModel(TextModel):
    """A vision encoder with its image processor (in the place of a tokenizer).

    Content tokens are the patches: CLS, register and distillation tokens are not.
    """

    @property
    def d_model(self) -> int:
        return self.module.config.get_text_config().hidden_size

    def read(self, contents: list[bytes], *, max_tokens: int) -> Tokens:
        """The tokens of encoded images; all are as many as those of the first. `max_tokens` is for texts.

        Raises:
            TesseraError: they are texts, or it cannot be told which tokens are patches.
        """
        self._check(contents)
        first = decode(contents[0])
        content_T = self._content(first.size)
        ids_T = np.zeros(len(content_T), dtype=np.int32)
        pixels = next((part.shape[-2:] for part in self.prepare([first]).values() if part.ndim == 4), (1, 1))
        size, places = len(contents), _places(content_T.sum(), pixels)
        places = {name: [place_N] * size for name, place_N in places.items()}
        return Tokens([ids_T] * size, [content_T] * size, np.zeros(size, dtype=bool), contents, places)

    def inputs(self, tokens: Tokens, examples: np.ndarray) -> Inputs:
        arguments = self.prepare([decode(tokens.images[example]) for example in examples])
        content_BT = np.stack([tokens.content[example] for example in examples])
        return Inputs(np.zeros(content_BT.shape, dtype=np.int64), content_BT, arguments)

    def prepare(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """What the image processor makes of decoded images, on the model's device."""
        return self._to_device(self._process(images=images))

    def _process(self, **asked) -> dict[str, torch.Tensor]:
        try:
            return dict(self.tokenizer(**asked, return_tensors="pt"))
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            name, reason = type(self.tokenizer).__name__, (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TesseraError(f"{name} cannot make one batch of {len(asked['images'])} images: {reason}") from error

    def _to_device(self, arguments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kinds = {name: self.module.dtype if part.is_floating_point() else None for name, part in arguments.items()}
        return {name: part.to(self.device, kinds[name]) for name, part in arguments.items()}

    @torch.inference_mode()
    def _content(self, size: tuple[int, int]) -> np.ndarray:
        """Which tokens [T] are patches: those that the first block reads otherwise where the pixels are others."""
        generator = np.random.default_rng(0)
        first, second = (
            Image.fromarray(generator.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)) for _ in range(2)
        )
        before = run(self, self.prepare([first, first, second]), {0: "resid_pre"})[0]
        name = type(self.module).__name__
        if before.ndim != 3:
            raise TesseraError(f"{name}: its first block reads {tuple(before.shape)}, not images × tokens × dimensions")
        chance, depends_T = ((before[0] - before[other]).float().norm(dim=1) for other in (1, 2))
        if chance.max() > 0.01 * depends_T.max():
            raise TesseraError(f"{name} masks patches by chance, so no two passes see the same ones; it cannot be used")
        content_T = (depends_T > 1e-3 * depends_T.max()).cpu().numpy()
        if not content_T.any():
            raise TesseraError(f"{name}: what its first block reads does not depend on the image")
        return content_T

    def _check(self, contents: list[str] | list[bytes]) -> None:
        if not isinstance(contents[0], bytes):
            raise TesseraError("the data set holds texts and the model reads images: drop reads: image for this model")


@dataclass
class ImageLanguageModel(ImageModel):
    """A vision-language model with its processor: the whole model runs, `blocks` are those of its language model.

    Content tokens are the image's among those of `prompt`, in which the image's placeholder stands.
    """

    prompt: str
    image_token: int

    def read(self, contents: list[bytes], *, max_tokens: int) -> Tokens:
        self._check(contents)
        ids = [self._batch([decode(image)])["input_ids"][0].numpy().astype(np.int32) for image in contents]
        content = [row == self.image_token for row in ids]
        several = [_places(content_T.sum(), (1, 1)) for content_T in content]
        places = {name: [places[name] for places in several] for name in several[0]}
        return Tokens(ids, content, np.zeros(len(ids), dtype=bool), contents, places)

    def inputs(self, tokens: Tokens, examples: np.ndarray) -> Inputs:
        batch = self._batch([decode(tokens.images[example]) for example in examples])
        ids_BT = batch["input_ids"].numpy()
        content_BT = ids_BT == self.image_token
        return Inputs(ids_BT, content_BT, self._to_device(batch))

    def _batch(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        batch = self._process(images=[[image] for image in images], text=[self.prompt] * len(images), padding=True)
        batch.pop("labels", None)  # of training
        return batch


def load_image_model(
    identity: dict, *, folder: str | Path | None, revision: str | None, depth: int | None
) -> ImageModel:
    """A vision encoder (of a model of images and texts side by side, its vision tower) or a vision-language model;
    arguments and errors as of `load_model`. Of a new encoder, whose folder is yet to be made: its start.
    """
    name, spec, architecture = identity["name"], identity["spec"], identity["architecture"]
    if folder is None and "tuned" in architecture:
        return new_encoder(name, spec, architecture["tuned"]["config"], seed=identity["seed"])
    config, processor, module, _ = load_parts(
        identity,
        lambda config: AutoImageProcessor if _image_token(config) is None else AutoProcessor,
        lambda module, config: _stack(module, config)[1],
        folder=folder,
        revision=revision,
        depth=depth,
    )
    part, blocks = _stack(module, config)
    image_token = _image_token(config)
    if image_token is None:
        return ImageModel(part, processor, blocks)
    processor.tokenizer.padding_side = "right"
    prompt = _prompt(name, processor, spec.get("prompt", architecture.get("prompt", "")))
    model = ImageLanguageModel(module, processor, blocks, prompt, image_token)
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8))
    if not (model._batch([noise])["input_ids"] == image_token).any():
        raise TesseraError(
            f"config key models.{name}.prompt: {type(processor).__name__} puts no image token (id {image_token}) into "
            f"{prompt!r}; write the image's place into the prompt"
        )
    return model


def _stack(module: torch.nn.Module, config: PretrainedConfig) -> tuple[torch.nn.Module, torch.nn.ModuleList]:
    """The part of a model that has the blocks, and these: the vision encoder or tower, or the language model."""
    if _image_token(config) is not None:
        language = module.get_decoder()
        if language is module:
            raise TesseraError(f"{type(module).__name__}: no language model found in it; its parts: {_parts(module)}")
        return language, find_blocks(language, config.get_text_config())
    if hasattr(config, "vision_config"):
        module, config = getattr(module, "vision_model", module), config.vision_config
    return module, find_blocks(module, config)


def _image_token(config: PretrainedConfig) -> int | None:
    """Id of the token that stands for the image, of a vision-language model."""
    found = (getattr(config, key, None) for key in ("image_token_id", "image_token_index"))
    return next((token for token in found if token is not None), None)


def _places(number: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Row and column of an image's patches, line by line; `size`: its height and width, or their ratio.

    Where no grid of that ratio has so many (tiles, pooled patches), all stand in row 0.
    """
    rows, columns = (round((number * one / other) ** 0.5) for one, other in (size, size[::-1]))
    row_N, column_N = np.divmod(np.arange(number, dtype=np.int32), columns if rows * columns == number else number)
    return {"row": row_N, "column": column_N}


def _prompt(name: str, processor: object, prompt: str) -> str:
    """`prompt` with the image's placeholder, in front of it where it has none."""
    places = [getattr(processor, key, None) for key in ("boi_token", "image_token")]
    places = [place for place in places if isinstance(place, str)]
    if not places:
        raise TesseraError(f"config key models.{name}: {type(processor).__name__} names no image token")
    return prompt if any(place in prompt for place in places) else places[0] + prompt


def _parts(module: torch.nn.Module) -> str:
    return ", ".join(part for part, _ in module.named_children())


def new_encoder(name: str, spec: dict, given: dict, *, seed: int) -> ImageModel:
    """A vision encoder of the transformers config `given`, its weights drawn from `seed`.

    Its processor resizes to image_size × image_size and takes pixels to −1 … 1.

    Raises:
        TesseraError: transformers knows no such model or option.
    """
    key = f"config key models.{name}.tuned.config"
    try:
        unknown = set(given) - set(AutoConfig.for_model(given["model_type"]).to_dict())
        if unknown:
            raise TesseraError(f"{key}: {given['model_type']} has no option {min(unknown)!r}")
        config = AutoConfig.for_model(**given)
        torch.manual_seed(seed)
        module = AutoModel.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise TesseraError(f"{key}: {(str(error).strip() or type(error).__name__).splitlines()[0]}") from error
    size = getattr(config, "image_size", None)
    if not isinstance(size, int) or getattr(config, "num_channels", 3) != 3:
        raise TesseraError(f"{key}: a vision encoder with one image_size and num_channels 3 is needed")
    size, half = {"height": size, "width": size}, [0.5] * 3
    processor = ViTImageProcessor(size=size, do_normalize=True, image_mean=half, image_std=half)
    module = module.to(pick_device(name, spec["device"])).eval().requires_grad_(False)
    return ImageModel(module, processor, find_blocks(module, config))
