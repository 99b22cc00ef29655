"""Load a model of the study by what the config says of it."""

from dataclasses import replace
from pathlib import Path

from transformers import AutoTokenizer, PretrainedConfig

from tessera.base.errors import TesseraError
from tessera.models.blocks import find_blocks
from tessera.models.bos import leading_bos
from tessera.models.chat import Chat
from tessera.models.parts import load_parts
from tessera.models.text import TextModel, special_ids


def load_model(
    identity: dict,
    *,
    folder: str | Path | None = None,
    revision: str | None = None,
    depth: int | None = None,
    causal: bool = False,
) -> TextModel:
    """Load a model in inference mode; a control draws the weights of its architecture anew from its seed.

    Args:
        identity: name; spec, the model's entry in the config (of a control, with control_of); architecture, the entry
            of the model whose architecture and tokenizer it uses (its own, but for a control); seed.
        folder: the model's where the workflow made it; else `architecture` has the key path or hub.
        revision: commit of the hub; the config's where None.
        depth: number of blocks that are read, from the first on; what is behind them is not loaded. None: all.
        causal: with the head that predicts the next token, and so whole.

    Raises:
        TesseraError: the files are not there, are not what the config says, or hold no stack of blocks; the tokenizer
            has no BOS token, or no chat template, that the config asks for.
    """
    if identity["spec"].get("reads") == "image":
        from tessera.models.vision import load_image_model  # imports Pillow

        return load_image_model(identity, folder=folder, revision=revision, depth=depth)
    config, tokenizer, module, place = load_parts(
        identity,
        lambda config: AutoTokenizer,
        find_blocks,
        folder=folder,
        revision=revision,
        depth=None if causal else depth,
        causal=causal,
    )
    name, spec = identity["name"], identity["spec"]
    if len(tokenizer) <= len(special_ids(tokenizer)) + 1:
        raise TesseraError(f"config key models.{name}: {str(place)!r} has no tokenizer files")
    _check_length(name, spec["max_tokens"], config)
    system = spec["chat"] if isinstance(spec["chat"], str) else None
    chat = Chat(f"models.{name}.chat", tokenizer, system) if spec["chat"] else None
    model = TextModel(module, tokenizer, find_blocks(module, config), chat=chat)
    return replace(model, bos=leading_bos(name, spec["prepend_bos"], model))


def _check_length(name: str, max_tokens: int, config: PretrainedConfig) -> None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and max_tokens > limit:
        raise TesseraError(f"config key models.{name}.max_tokens: {max_tokens}, but the model reads at most {limit}")
