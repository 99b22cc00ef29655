"""Turn an SAE saved by SAELens into encoder and decoder files, checked to be of the one asked for."""

import json
import logging
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from tessera.base.errors import TesseraError, shorten
from tessera.base.files import atomic
from tessera.saes.encoders import ENCODERS, NORMS, read_tensors

logger = logging.getLogger("tessera")

# What must be folded into the weights before they are saved: encode() knows nothing of it.
FOLDED_NORMS = ("expected_average_only_in", "covariance_whitening")
OWN_TENSORS = {
    "jumprelu": ["b_enc", "threshold"],
    "standard": ["b_enc"],
    "topk": ["b_enc"],
    "gated": ["b_gate", "b_mag", "r_mag"],
}
# TransformerLens' names of the places that SAEs read, and ours; transformers' own name goes first where it is given.
HOOKS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "z",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_in": "mlp_in",
    "ln2.hook_normalized": "mlp_in_normalized",
    "output": "resid_post",
    "self_attn.o_proj.input": "z",
    "post_feedforward_layernorm.output": "mlp_out",
    "pre_feedforward_layernorm.output": "mlp_in",
}
# In cfg.json.
SAID_IN_WORDS = ("architecture", "normalize_activations", "model_name", "hook_name", "hf_hook_name", "neuronpedia_id")
WRITTEN = ("resid_pre", "resid_post", "attn_out", "mlp_out")  # what centred writing weights centre
HOOK_NAME = re.compile(r"(?:blocks|model\.layers)\.(\d{1,4})\.(.+)")


def prepare(
    folder: Path,
    encoder: Path | None,
    decoder: Path | None = None,
    *,
    width: int,
    layer: int,
    hook: str | None = None,
    model: str | None = None,
    same_model=None,
) -> dict:
    """Write `encoder` or `decoder`, or both, of an SAE saved by SAELens in `folder`; what the encoder says of itself.

    The decoder is W_dec [W, d], what one unit of activation adds to the reconstruction; there is none where it has
    another shape, and the file says why its latents cannot be taken out, if so.

    `hook`, where given, is what the config says that the SAE reads; `model` is the hub id of its model, and
    `same_model(a, b)` tells whether two names mean one model where their last parts differ.

    Raises:
        TesseraError: the folder holds no SAE that SAELens saved, or one of another model, layer, hook or width.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text())
        architecture, latents, d_in = config["architecture"], config["d_sae"], config["d_in"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TesseraError(f"{folder} is no SAE saved by SAELens: cfg.json: {error}") from error
    about = _about(folder, config)
    normalisation = config.get("normalize_activations", "none")
    if normalisation in FOLDED_NORMS:
        raise TesseraError(
            f"{folder}: the SAE expects activations normalised by {normalisation!r}; fold that into its weights with "
            f"SAELens and save it again"
        )
    if latents != width:
        raise TesseraError(f"{folder}: the SAE has {latents} latents, the config asks for {width}")
    _check_model(folder, about.get("model_name"), model, same_model)
    hook = _hook(folder, about, layer, hook)
    centred = _centred(folder, about.get("model_from_pretrained_kwargs") or {})
    prepared = {"architecture": architecture, "hook": hook, "centre": centred and hook in WRITTEN}
    tensors = read_tensors(folder / "sae_weights.safetensors")
    if architecture in ENCODERS and normalisation in NORMS:
        kept = _own_tensors(folder, config, tensors, width, d_in)
        prepared |= {
            "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
            "normalize_activations": normalisation,
            "k": config.get("k"),
        }
    elif prepared["centre"]:
        raise TesseraError(f"{folder}: a {architecture} SAE of a model with centred weights is not supported")
    else:
        kept, prepared["saelens"] = tensors, config | {"reshape_activations": "none"}  # z comes flat
        _check_revives(folder, prepared["saelens"], tensors)
    written = {
        "hook": hook,
        "architecture": architecture,
        "normalize_activations": normalisation,
        "neuronpedia": about.get("neuronpedia_id"),
        "why_not": _why_not(architecture) if "saelens" in prepared else None,
        "in_stream": hook in WRITTEN,
    }
    if encoder:
        _save(encoder, kept, prepared)
    if decoder:
        _save(decoder, _decoder(config, tensors, width, d_in), written)
    return prepared


def _save(file: Path, tensors: dict[str, torch.Tensor], about: dict) -> None:
    with atomic(file) as part:
        save_file(tensors, part, metadata={"tessera": json.dumps(about)})
        part.chmod(0o644)  # safetensors writes 0600, which breaks shared clusters


def _why_not(architecture: str) -> str:
    return (
        f"a {architecture} SAE is encoded by SAELens itself, and what one of its latents adds to the state that it "
        f"reads is not known"
    )


def _decoder(config: dict, tensors: dict[str, torch.Tensor], width: int, d_in: int) -> dict[str, torch.Tensor]:
    """W_dec [W, d] in float32, divided by its norm where SAELens divides activations by that before it decodes."""
    if "W_dec" not in tensors or tensors["W_dec"].shape != (width, d_in):
        return {}
    W_WD = tensors["W_dec"].float()
    if config.get("rescale_acts_by_decoder_norm"):
        W_WD = torch.nn.functional.normalize(W_WD, dim=1)
    return {"W_dec": W_WD.contiguous()}


def _about(folder: Path, config: dict) -> dict:
    """What an SAE says of itself: its config, and over it the metadata in there."""
    metadata = config.get("metadata") or {}
    said = {key: value for key, value in metadata.items() if value is not None} if isinstance(metadata, dict) else {}
    about = config | said
    kinds = {"metadata": dict, "model_from_pretrained_kwargs": dict, **dict.fromkeys(SAID_IN_WORDS, str)}
    for key, kind in kinds.items():
        if not isinstance(about.get(key) or kind(), kind):
            raise TesseraError(f"{folder}: {key} in cfg.json is {shorten(about[key])}")
    return about


def _own_tensors(folder: Path, config: dict, tensors: dict, width: int, d_in: int) -> dict[str, torch.Tensor]:
    used = ["W_enc", "b_dec", *OWN_TENSORS[config["architecture"]]]
    shapes = {"W_enc": (d_in, width), "b_dec": (d_in,), "W_dec": (width, d_in)}
    for name in [*used, "W_dec"]:
        if name not in tensors or tensors[name].shape != shapes.get(name, (width,)):
            raise TesseraError(f"{folder}: tensor {name} is missing or of another size than cfg.json says")
        if not tensors[name].isfinite().all():
            raise TesseraError(f"{folder}: tensor {name} holds values that are not finite")
    if config["architecture"] == "topk" and not (type(config.get("k")) is int and 0 < config["k"] <= width):
        raise TesseraError(f"{folder}: k in cfg.json is {shorten(config.get('k'))}")
    kept = {"b_enc" if name == "b_gate" else name: tensors[name].float().contiguous() for name in used}
    if config.get("rescale_acts_by_decoder_norm"):
        kept["decoder_norm"] = tensors["W_dec"].float().norm(dim=-1)
    return kept


def _check_revives(folder: Path, config: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Does SAELens know the architecture, and do the tensors fit it? Asked here, before a GPU job waits for it."""
    from tessera.saes.saelens import revive  # imports sae_lens

    try:
        revive(config, tensors)
    except Exception as error:  # every architecture fails in its own way
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TesseraError(f"{folder}: SAELens cannot load this {config['architecture']} SAE: {reason}") from error
    logger.info("%s: architecture %s is encoded by SAELens", folder, config["architecture"])


def _centred(folder: Path, options: dict) -> bool:
    """Was the SAE trained on a model whose weights write zero-mean residuals (GPT-2 res-jb)? Then ours are centred."""
    centred = bool(options.get("center_writing_weights"))
    others = [name for name, value in options.items() if value and name != "center_writing_weights"]
    if others:
        raise TesseraError(f"{folder}: the SAE was trained on a model changed by {', '.join(others)}; not supported")
    return centred


def _hook(folder: Path, about: dict, layer: int, asked: str | None) -> str:
    """What the SAE reads, from its metadata; where they do not say, the config's word or the residual stream."""
    names = [name for name in (about.get("hf_hook_name"), about.get("hook_name")) if name]
    if not names:
        logger.warning("%s names no hook point; taken for %s of block %d", folder, asked or "resid_post", layer)
        return asked or "resid_post"
    for name in names:
        found = HOOK_NAME.fullmatch(name)
        if found and found[2] in HOOKS:
            hook = HOOKS[found[2]]
            if int(found[1]) != layer:
                raise TesseraError(f"{folder}: the SAE reads {name}, the config asks for layer {layer}")
            if asked not in (None, hook):
                raise TesseraError(f"{folder}: the SAE reads {name}, the config says hook: {asked}")
            return hook
    raise TesseraError(f"{folder}: the SAE reads {names[-1]}; supported are {', '.join(HOOKS)}")


def _check_model(folder: Path, trained_on: str | None, model: str | None, same_model) -> None:
    if not trained_on or not model:
        return
    names = [name.rsplit("/", 1)[-1].lower() for name in (trained_on, model)]
    if names[0] != names[1] and not (same_model and same_model(trained_on, model)):
        raise TesseraError(
            f"{folder}: the SAE was trained on {trained_on}, the config's model is {model}; where that is meant, say "
            f"trained_on: {trained_on} in the entry of saes"
        )
