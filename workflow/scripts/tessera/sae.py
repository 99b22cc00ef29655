"""Prepared SAEs: encoder weights as safetensors, and small torch encoders that equal SAELens' bit for bit."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tessera.errors import TesseraError
from tessera.io import atomic

CHUNK_BYTES = 64 * 2**20  # the one dense buffer, tokens × width


@dataclass
class SparseActivations:
    """Positive activations of N tokens, token by token, latents ascending within a token."""

    counts_N: np.ndarray  # active latents per token, i64
    latents: np.ndarray  # u32
    values: np.ndarray  # f32


class Encoder:
    """The encoder of a prepared SAE on one device: pre-activations = (x − b_dec) W_enc + b_enc."""

    def __init__(self, tensors: dict[str, torch.Tensor], config: dict, device: torch.device):
        self.config = config
        self.W_enc = tensors["W_enc"].to(device)
        self.b_enc = tensors["b_enc"].to(device)
        self.b_dec = tensors["b_dec"].to(device) if config["apply_b_dec_to_input"] else None
        rows = max(1, CHUNK_BYTES // (4 * self.width))
        self._pre = torch.empty(rows, self.width, device=device)
        self._active = torch.empty(rows, self.width, dtype=torch.bool, device=device)

    @property
    def width(self) -> int:
        return self.W_enc.shape[1]

    def activate(self, pre_NW: torch.Tensor, active_NW: torch.Tensor) -> None:
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
        if self.b_dec is not None:
            x_ND = x_ND - self.b_dec
        torch.mm(x_ND, self.W_enc, out=pre_NW).add_(self.b_enc)
        self.activate(pre_NW, active_NW)
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

    def activate(self, pre_NW, active_NW):
        torch.gt(pre_NW, self.threshold, out=active_NW)


class Standard(Encoder):
    """ReLU."""

    def activate(self, pre_NW, active_NW):
        torch.gt(pre_NW, 0, out=active_NW)


class TopK(Encoder):
    """The k largest pre-activations of a token, where positive."""

    def activate(self, pre_NW, active_NW):
        top = torch.topk(pre_NW, self.config["k"], dim=-1, sorted=False)
        active_NW.zero_().scatter_(-1, top.indices, top.values > 0)


ENCODERS: dict[str, type[Encoder]] = {"jumprelu": JumpReLU, "standard": Standard, "topk": TopK}


def prepare(folder: Path, out: Path, *, width: int) -> dict:
    """Write the encoder of an SAE saved by SAELens in `folder` to `out`; its config.

    Raises:
        TesseraError: the folder holds no such SAE, or one that raw activations must not be fed to.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text())
        architecture, latents, d_in = config["architecture"], config["d_sae"], config["d_in"]
    except (OSError, ValueError, KeyError) as error:
        raise TesseraError(f"{folder} is no SAE saved by SAELens: cfg.json: {error}") from error
    if architecture not in ENCODERS:
        allowed = ", ".join(ENCODERS)
        raise TesseraError(f"{folder}: SAE architecture {architecture!r} is not supported; allowed: {allowed}")
    if config.get("normalize_activations", "none") != "none":
        raise TesseraError(
            f"{folder}: the SAE expects activations normalised by {config['normalize_activations']!r}; fold that into "
            f"its weights with SAELens and save it again"
        )
    if config.get("rescale_acts_by_decoder_norm"):
        raise TesseraError(f"{folder}: fold the decoder norms (fold_W_dec_norm) with SAELens and save the SAE again")
    if config.get("reshape_activations", "none") != "none":
        raise TesseraError(f"{folder}: the SAE reads attention heads; supported are SAEs of the residual stream")
    if latents != width:
        raise TesseraError(f"{folder}: the SAE has {latents} latents, the config asks for {width}")
    tensors = _read(folder / "sae_weights.safetensors")
    used = ["W_enc", "b_enc", "b_dec"] + ["threshold"] * (architecture == "jumprelu")
    wrong = [name for name in used if name not in tensors or tensors[name].shape[-1] != (width, d_in)[name == "b_dec"]]
    if wrong:
        raise TesseraError(f"{folder}: tensor {wrong[0]} is missing or of another size than cfg.json says")
    kept = {name: tensors[name].float().contiguous() for name in used}
    prepared = {
        "architecture": architecture,
        "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
        "k": config.get("k"),
    }
    with atomic(out) as part:
        save_file(kept, part, metadata={"tessera": json.dumps(prepared)})
        part.chmod(0o644)  # safetensors writes 0600, which breaks shared clusters
    return prepared


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
