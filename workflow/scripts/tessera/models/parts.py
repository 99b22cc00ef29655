"""The parts of any transformers model: config, tokenizer or processor, and module."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    logging,
)

from tessera.base.errors import TesseraError
from tessera.base.files import resolve
from tessera.models.blocks import drop_behind, shallow
from tessera.models.devices import pick_device, pick_dtype

PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]


def load_parts(
    identity: dict,
    reader: Callable,
    find: Callable,
    *,
    folder: str | Path | None,
    revision: str | None,
    depth: int | None,
    causal: bool = False,
) -> tuple[PretrainedConfig, object, PreTrainedModel, str | Path]:
    """Config, tokenizer or processor, frozen module, and the place that they come from.

    `reader` gives the Auto class of tokenizer or processor for a config, `find` the blocks of a module with its
    config. The other arguments, and errors, as of `load_model`.
    """
    name, spec = identity["name"], identity["spec"]
    place, options = _place(identity["architecture"], folder, revision)
    device = pick_device(name, spec["device"])
    dtype = pick_dtype(spec["dtype"], device)
    auto = AutoModelForCausalLM if causal else AutoModel
    try:
        config = AutoConfig.from_pretrained(place, **options)
        reads = reader(config).from_pretrained(place, **options)
        if "control_of" in spec:
            torch.manual_seed(identity["seed"])
            module, missing = auto.from_config(config, dtype=dtype), []
            if depth is not None:  # drawn whole: what a block draws depends on those in front of and behind it
                drop_behind(find(module, config), depth)
        else:
            whole = None if depth is None else MODEL_MAPPING.get(type(config), None)
            loader = shallow(whole, depth, find) if isinstance(whole, type) else auto  # one config can have two classes
            options |= {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
            with _quiet():
                module, loaded = loader.from_pretrained(place, config=config, **options)
            missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
    except TesseraError:
        raise
    except Exception as error:  # each architecture fails in its own way
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TesseraError(f"config key models.{name}: {str(place)!r} cannot be loaded: {reason}") from error
    if missing:
        raise TesseraError(
            f"config key models.{name}: the weights in {str(place)!r} lack {len(missing)} tensors, such as {missing[0]}"
        )
    return config, reads, module.to(device).eval().requires_grad_(False), place


def _place(architecture: dict, folder: str | Path | None, revision: str | None) -> tuple[str | Path, dict]:
    """Folder or hub id, and how transformers is to load from it."""
    if folder is None and "hub" in architecture:
        revision = revision or architecture.get("revision")
        return architecture["hub"], {"revision": revision, "trust_remote_code": False}
    place = resolve(architecture["path"]) if folder is None else Path(folder)
    return place, {"local_files_only": True, "trust_remote_code": False}


def local_folder(identity: dict, folder: str | Path | None, revision: str | None) -> Path:
    """The folder of a model's files; of a hub model that of its snapshot, from the cache or fetched.

    Raises:
        TesseraError: the hub model can be had neither from the hub nor from its cache.
    """
    place, options = _place(identity["architecture"], folder, revision)
    if isinstance(place, Path):
        return place
    try:
        return Path(snapshot_download(place, revision=options["revision"], allow_patterns=PATTERNS))
    except Exception as error:  # the hub's client has an error of its own for each way to fail
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TesseraError(f"config key models.{identity['name']}: {place!r} cannot be loaded: {reason}") from error


def has_head(folder: Path) -> bool:
    """Does a model's folder hold the head that predicts the next token?"""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__ in (config.architectures or [])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' page on weights that have no place in the module: a head, the blocks that are not built."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
