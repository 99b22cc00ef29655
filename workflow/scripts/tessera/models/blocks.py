"""The stack of equal blocks of any transformers model, built only as deep as it is read."""

from collections.abc import Callable

import torch
from transformers import PretrainedConfig, PreTrainedModel

from tessera.base.errors import TesseraError
from tessera.study.architecture import count_layers


class Unbuilt(torch.nn.Module):
    """Stands in the place of a block that no hook reads: it has no weights, so none are drawn, read or held."""

    def forward(self, *_arguments, **_options):
        raise TesseraError("a pass reads a block behind the depth that the model was loaded with")


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


def drop_behind(blocks: torch.nn.ModuleList, depth: int) -> None:
    """Put `Unbuilt` in the place of every block from number `depth` on."""
    for layer in range(depth, len(blocks)):
        blocks[layer] = Unbuilt()


def shallow(whole: type[PreTrainedModel], depth: int, find: Callable) -> type[PreTrainedModel]:
    """A class whose from_pretrained gives models of the class `whole` without their blocks from number `depth` on.

    from_pretrained builds a model without memory, then reads the weights that it has a place for: those of the blocks
    that `find` gives behind `depth` are gone in between. The config stays that of the whole model, as in some
    architectures what an early block does depends on how many there are.
    """

    class Shallow(whole):
        def __new__(cls, config, *arguments, **options):
            module = whole(config, *arguments, **options)
            drop_behind(find(module, config), depth)
            return module

    return Shallow
