"""Prepared SAEs: encoder weights as safetensors, and small torch encoders that equal SAELens' bit for bit."""

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tessera.errors import TesseraError
from tessera.io import atomic

logger = logging.getLogger("tessera")

CHUNK_BYTES = 64 * 2**20  # the one dense buffer, tokens × width


@dataclass
class SparseActivations:
    """Positive activations of N tokens, token by token, latents ascending within a token."""

    counts_N: np.ndarray  # active latents per token, i64
    latents: np.ndarray  # u32
    values: np.ndarray  # f32


class Encoder:
    """The encoder of a prepared SAE on one device: pre-activations = (norm(x) − b_dec) W_enc + b_enc."""

    def __init__(self, tensors: dict[str, torch.Tensor], config: dict, device: torch.device):
        self.config = config
        self.W_enc = tensors["W_enc"].to(device)
        self.b_enc = tensors["b_enc"].to(device)
        self.b_dec = tensors["b_dec"].to(device) if config["apply_b_dec_to_input"] else None
        self.norm = NORMS[config["normalize_activations"]]
        self.centre = config["centre"]
        rows = max(1, CHUNK_BYTES // (4 * self.width))
        self._pre = torch.empty(rows, self.width, device=device)
        self._active = torch.empty(rows, self.width, dtype=torch.bool, device=device)

    @property
    def width(self) -> int:
        return self.W_enc.shape[1]

    def activate(self, x_ND: torch.Tensor, pre_NW: torch.Tensor, active_NW: torch.Tensor) -> None:
        """Turn pre-activations into activations in place and mark the positive ones in `active_NW`."""
        raise NotImplementedError

    @torch.inference_mode()
    def encode(self, residual_ND: torch.Tensor) -> SparseActivations:
        """Encode N tokens in chunks that reuse one buffer; nothing dense outlives a chunk."""
        parts = [self._encode_chunk(chunk) for chunk in residual_ND.float().split(len(self._pre))]
        counts, latents, values = zip(*parts, strict=True)
        return SparseActivations(np.concatenate(counts), np.concatenate(latents), np.concatenate(values))

    def _encode_chunk(self, x_ND: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pre_NW, active_NW = self._pre[: len(x_ND)], self._active[: len(x_ND)]
        if self.centre:
            x_ND = x_ND - x_ND.mean(dim=-1, keepdim=True)
        x_ND = self.norm(x_ND)
        if self.b_dec is not None:
            x_ND = x_ND - self.b_dec
        torch.mm(x_ND, self.W_enc, out=pre_NW).add_(self.b_enc)
        self.activate(x_ND, pre_NW, active_NW)
        counts = active_NW.sum(dim=1).cpu().numpy()
        if pre_NW.is_cuda:
            flat = torch.nonzero(active_NW.view(-1)).view(-1)
            values = pre_NW.view(-1)[flat].cpu().numpy()
            latents = (flat % self.width).to(torch.int32).cpu().numpy().view(np.uint32)
        else:
            flat = np.flatnonzero(active_NW.numpy())  # 4 × torch.nonzero on a CPU
            values = pre_NW.numpy().reshape(-1)[flat]
            latents = (flat % self.width).astype(np.uint32)
        return counts, latents, values


class JumpReLU(Encoder):
    """pre · 1[pre > threshold] · 1[pre > 0]: also BatchTopK and Matryoshka, which SAELens saves as JumpReLU."""

    def __init__(self, tensors, config, device):
        super().__init__(tensors, config, device)
        self.threshold = tensors["threshold"].to(device).clamp(min=0)

    def activate(self, x_ND, pre_NW, active_NW):
        torch.gt(pre_NW, self.threshold, out=active_NW)


class Standard(Encoder):
    """ReLU."""

    def activate(self, x_ND, pre_NW, active_NW):
        torch.gt(pre_NW, 0, out=active_NW)


class TopK(Encoder):
    """The k largest pre-activations of a token, where positive; by decoder norm where the SAE was trained so."""

    def __init__(self, tensors, config, device):
        super().__init__(tensors, config, device)
        self.decoder_norm = tensors["decoder_norm"].to(device) if "decoder_norm" in tensors else None

    def activate(self, x_ND, pre_NW, active_NW):
        if self.decoder_norm is not None:
            pre_NW.mul_(self.decoder_norm)
        top = torch.topk(pre_NW, self.config["k"], dim=-1, sorted=False)
        active_NW.zero_().scatter_(-1, top.indices, top.values > 0)


class Gated(Encoder):
    """ReLU(x (W_enc · exp r_mag) + b_mag) where the gate x W_enc + b_gate is positive; `b_enc` holds b_gate."""

    def __init__(self, tensors, config, device):
        super().__init__(tensors, config, device)
        self.W_magnitude = self.W_enc * tensors["r_mag"].to(device).exp()
        self.b_magnitude = tensors["b_mag"].to(device)
        self._open = torch.empty_like(self._active)

    def activate(self, x_ND, pre_NW, active_NW):
        open_NW = torch.gt(pre_NW, 0, out=self._open[: len(pre_NW)])
        torch.mm(x_ND, self.W_magnitude, out=pre_NW).add_(self.b_magnitude)
        torch.gt(pre_NW, 0, out=active_NW).logical_and_(open_NW)


def _layer_norm(x_ND: torch.Tensor) -> torch.Tensor:
    """As SAELens does it: the sample standard deviation, with 1e-5 added to it."""
    x_ND = x_ND - x_ND.mean(dim=-1, keepdim=True)
    return x_ND / (x_ND.std(dim=-1, keepdim=True) + 1e-5)


# What an SAE does to its input at run time; whatever else a config names must be folded into the weights first.
NORMS = {
    "none": lambda x_ND: x_ND,
    "layer_norm": _layer_norm,
    "constant_norm_rescale": lambda x_ND: x_ND * (x_ND.shape[-1] ** 0.5 / x_ND.norm(dim=-1, keepdim=True)),
}
ENCODERS: dict[str, type[Encoder]] = {"jumprelu": JumpReLU, "standard": Standard, "topk": TopK, "gated": Gated}
OWN_TENSORS = {
    "jumprelu": ["b_enc", "threshold"],
    "standard": ["b_enc"],
    "topk": ["b_enc"],
    "gated": ["b_gate", "b_mag", "r_mag"],
}
HOOKS = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")


def prepare(folder: Path, out: Path, *, width: int, layer: int) -> dict:
    """Write the encoder of an SAE saved by SAELens in `folder` to `out`; its config.

    Raises:
        TesseraError: the folder holds no such SAE, or one of another hook point, or one that needs more than the
            residual stream after block `layer`.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text())
        architecture, latents, d_in = config["architecture"], config["d_sae"], config["d_in"]
    except (OSError, ValueError, KeyError) as error:
        raise TesseraError(f"{folder} is no SAE saved by SAELens: cfg.json: {error}") from error
    normalisation = config.get("normalize_activations", "none")
    if architecture not in ENCODERS:
        allowed = ", ".join(ENCODERS)
        raise TesseraError(f"{folder}: SAE architecture {architecture!r} is not supported; allowed: {allowed}")
    if normalisation not in NORMS:
        raise TesseraError(
            f"{folder}: the SAE expects activations normalised by {normalisation!r}; fold that into its weights with "
            f"SAELens and save it again"
        )
    if config.get("reshape_activations", "none") != "none":
        raise TesseraError(f"{folder}: the SAE reads attention heads; supported are SAEs of the residual stream")
    if latents != width:
        raise TesseraError(f"{folder}: the SAE has {latents} latents, the config asks for {width}")
    _check_hook(folder, config.get("metadata", {}).get("hook_name") or config.get("hook_name"), layer)
    tensors = _read(folder / "sae_weights.safetensors")
    used = ["W_enc", "b_dec", *OWN_TENSORS[architecture]]
    wrong = [name for name in used if name not in tensors or tensors[name].shape[-1] != (width, d_in)[name == "b_dec"]]
    if wrong:
        raise TesseraError(f"{folder}: tensor {wrong[0]} is missing or of another size than cfg.json says")
    kept = {"b_enc" if name == "b_gate" else name: tensors[name].float().contiguous() for name in used}
    if config.get("rescale_acts_by_decoder_norm"):
        kept["decoder_norm"] = tensors["W_dec"].float().norm(dim=-1)
    prepared = {
        "architecture": architecture,
        "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
        "normalize_activations": normalisation,
        "centre": _centred(folder, config.get("metadata", {}).get("model_from_pretrained_kwargs") or {}),
        "k": config.get("k"),
    }
    with atomic(out) as part:
        save_file(kept, part, metadata={"tessera": json.dumps(prepared)})
        part.chmod(0o644)  # safetensors writes 0600, which breaks shared clusters
    return prepared


def _centred(folder: Path, options: dict) -> bool:
    """Was the SAE trained on a model whose weights write zero-mean residuals (GPT-2 res-jb)? Then ours are centred."""
    centred = bool(options.get("center_writing_weights"))
    others = [name for name, value in options.items() if value and name != "center_writing_weights"]
    if others:
        raise TesseraError(f"{folder}: the SAE was trained on a model changed by {', '.join(others)}; not supported")
    return centred


def _check_hook(folder: Path, hook: str | None, layer: int) -> None:
    """The residual stream after block L is `blocks.L.hook_resid_post`, which is `blocks.L+1.hook_resid_pre`."""
    if hook is None:
        logger.warning("%s names no hook point; taken for the residual stream after block %d", folder, layer)
        return
    found = HOOKS.fullmatch(hook)
    after = int(found[1]) - (found[2] == "pre") if found else None
    if after != layer:
        raise TesseraError(f"{folder}: the SAE reads {hook}, not the residual stream after block {layer}")


def load_encoder(path: Path, device: torch.device) -> Encoder:
    """The encoder that `prepare` wrote to `path`, on `device`."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["tessera"])
    return ENCODERS[config["architecture"]](_read(path), config, device)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, FileNotFoundError) as error:
        raise TesseraError(f"{path} is not a readable safetensors file ({error})") from error
