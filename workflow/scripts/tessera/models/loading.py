"""Load a model of the study by its entry in the config."""

from transformers import AutoModel, AutoTokenizer, PretrainedConfig

from tessera.base.errors import TesseraError
from tessera.models.parts import find_blocks, load_parts
from tessera.models.text import TextModel, special_ids


def load_model(name: str, spec: dict, source: dict, *, seed: int, kind=AutoModel) -> TextModel:
    """Load the model `name` in inference mode; a control draws the weights of its architecture anew from `seed`.

    `kind` is the transformers class that loads it: without a head, or AutoModelForCausalLM.

    `spec` is the model's entry in the config (of a control, with control_of), `source` the entry that names
    architecture and tokenizer.

    Raises:
        TesseraError: the files are not there, are not what the config says, or hold no stack of blocks.
    """
    if spec.get("reads") == "image":
        from tessera.models.vision import load_image_model  # imports Pillow

        return load_image_model(name, spec, source, seed=seed)
    config, tokenizer, module, place = load_parts(
        name, spec, source, lambda config: AutoTokenizer, seed=seed, kind=kind
    )
    if len(tokenizer) <= len(special_ids(tokenizer)) + 1:
        raise TesseraError(f"config key models.{name}: {str(place)!r} has no tokenizer files")
    _check_length(name, spec["max_tokens"], config)
    return TextModel(module, tokenizer, find_blocks(module, config))


def _check_length(name: str, max_tokens: int, config: PretrainedConfig) -> None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and max_tokens > limit:
        raise TesseraError(f"config key models.{name}.max_tokens: {max_tokens}, but the model reads at most {limit}")
