"""Prepared SAEs: encoder weights as safetensors, and small torch encoders that equal SAELens' bit for bit."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from tessera.base.errors import TesseraError

logger = logging.getLogger("tessera")
FEW = 16  # tokens
CHUNK_BYTES = {"cpu": 128 * 2**20, "cuda": 2**30}  # of the one dense buffer, tokens × width


@dataclass
class SparseActivations:
    """Activations other than zero of N tokens, token by token, latents ascending within a token."""

    counts_N: np.ndarray  # active latents per token, i64
    latents: np.ndarray  # u32
    values: np.ndarray  # f32

    def split(self, tokens: int) -> tuple["SparseActivations", "SparseActivations"]:
        """Those of the first tokens, and those of the others."""
        end = int(self.counts_N[:tokens].sum())
        first = SparseActivations(self.counts_N[:tokens], self.latents[:end], self.values[:end])
        return first, SparseActivations(self.counts_N[tokens:], self.latents[end:], self.values[end:])

    def only(self, chosen_N: np.ndarray) -> "SparseActivations":
        """Those of some tokens."""
        chosen = np.repeat(chosen_N, self.counts_N)
        return SparseActivations(self.counts_N[chosen_N], self.latents[chosen], self.values[chosen])


class Scratch:
    """The dense buffers, tokens × width, that all encoders of a job use in turn."""

    def __init__(self, device: torch.device, matmul: torch.dtype = torch.float32):
        self.device, self.matmul = device, matmul
        self.entries = CHUNK_BYTES[device.type] // 4  # more than the widest SAE has latents
        self._pre = torch.empty(self.entries, device=device)
        self._active = torch.empty(self.entries, dtype=torch.bool, device=device)
        narrow = matmul != torch.float32 and device.type == "cpu"
        self._product = torch.empty(self.entries, dtype=matmul) if narrow else None

    def pre(self, rows: int, width: int) -> torch.Tensor:
        return self._pre[: rows * width].view(rows, width)

    def active(self, rows: int, width: int) -> torch.Tensor:
        return self._active[: rows * width].view(rows, width)

    def product(self, rows: int, width: int) -> torch.Tensor:
        return self._product[: rows * width].view(rows, width)


class Encoder:
    """The encoder of a prepared SAE on one device: pre-activations = (norm(x) − b_dec) W_enc + b_enc.

    The product is taken in the precision of `scratch` (float32 or bfloat16); everything added to it or compared with
    it, and what comes out, is float32.
    """

    reads_neighbours = False  # of a token, in its text

    def __init__(self, tensors: dict[str, torch.Tensor], config: dict, scratch: Scratch):
        self.config, self.scratch = config, scratch
        self.d_in, self.width = tensors["W_enc"].shape
        device = scratch.device
        self.W_enc = _laid_out(tensors["W_enc"].to(device, scratch.matmul))
        self.b_enc = tensors["b_enc"].to(device)
        self.b_dec = tensors["b_dec"].to(device) if config["apply_b_dec_to_input"] else None
        self.norm = NORMS[config["normalize_activations"]]
        self.centre = config["centre"]

    def activate(self, x_ND: torch.Tensor, pre_NW: torch.Tensor, active_NW: torch.Tensor) -> None:
        """Turn pre-activations into activations in place and mark those other than zero in `active_NW`."""
        raise NotImplementedError

    @torch.inference_mode()
    def encode(self, state_ND: torch.Tensor, lengths_E: np.ndarray | None = None) -> SparseActivations:
        """Encode N tokens in chunks that reuse one buffer; nothing dense outlives a chunk.

        `lengths_E`, the tokens of each example, matters only to an SAE that looks at a token's neighbours.
        """
        rows = self.scratch.entries // self.width
        return _joined([self._encode_padded(chunk) for chunk in state_ND.float().split(rows)])

    def output_scale(self, state_ND: torch.Tensor) -> torch.Tensor:
        """What undoes the run-time norm of N tokens [N, 1]: a reconstruction times this is of the state's size."""
        return OUTPUT_SCALES[self.config["normalize_activations"]](self._centred(state_ND.float()))

    def _centred(self, x_ND: torch.Tensor) -> torch.Tensor:
        return x_ND - x_ND.mean(dim=-1, keepdim=True) if self.centre else x_ND

    def _encode_padded(self, x_ND: torch.Tensor) -> SparseActivations:
        """Few rows are multiplied by other code, which rounds otherwise; so there are never few."""
        rows = min(FEW, self.scratch.entries // self.width)
        if len(x_ND) >= rows:
            return self._encode_chunk(x_ND)
        return self._encode_chunk(torch.nn.functional.pad(x_ND, (0, 0, 0, rows - len(x_ND)))).split(len(x_ND))[0]

    def _encode_chunk(self, x_ND: torch.Tensor) -> SparseActivations:
        pre_NW, active_NW = self.scratch.pre(len(x_ND), self.width), self.scratch.active(len(x_ND), self.width)
        x_ND = self.norm(self._centred(x_ND))
        if self.b_dec is not None:
            x_ND = x_ND - self.b_dec
        self._multiply(x_ND, self.W_enc, pre_NW).add_(self.b_enc)
        self.activate(x_ND, pre_NW, active_NW)
        return sparsify(pre_NW, active_NW)

    def _multiply(self, x_ND: torch.Tensor, W_DW: torch.Tensor, out_NW: torch.Tensor) -> torch.Tensor:
        x_ND = x_ND.to(W_DW.dtype)
        if W_DW.dtype == torch.float32:
            return torch.mm(x_ND, W_DW, out=out_NW)
        if out_NW.is_cuda:  # the sums stay float32
            return torch.mm(x_ND, W_DW, out_dtype=torch.float32, out=out_NW)
        return out_NW.copy_(torch.mm(x_ND, W_DW, out=self.scratch.product(*out_NW.shape)))


def sparsify(dense_NW: torch.Tensor, active_NW: torch.Tensor) -> SparseActivations:
    """The entries of `dense_NW` that `active_NW` marks (both contiguous)."""
    width = dense_NW.shape[1]
    if dense_NW.is_cuda:
        found = torch.nonzero(active_NW.view(-1)).view(-1)
        flat, values = found.cpu().numpy(), dense_NW.view(-1)[found].float().cpu().numpy()
    else:
        flat = np.flatnonzero(active_NW.numpy())  # 4 × torch.nonzero on a CPU
        values = dense_NW.numpy().reshape(-1)[flat]
    bounds = np.searchsorted(flat, np.arange(len(dense_NW) + 1) * width)
    return SparseActivations(np.diff(bounds), (flat % width).astype(np.uint32), values)


def _laid_out(W_DW: torch.Tensor) -> torch.Tensor:
    """bfloat16 weights latent by latent, which is an eighth faster; float32 as SAELens has them, for equal bits."""
    return W_DW if W_DW.dtype == torch.float32 else W_DW.t().contiguous().t()


def _joined(parts: list[SparseActivations]) -> SparseActivations:
    fields = ("counts_N", "latents", "values")
    return SparseActivations(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


class JumpReLU(Encoder):
    """pre · 1[pre > threshold] · 1[pre > 0]: also BatchTopK and Matryoshka, which SAELens saves as JumpReLU."""

    def __init__(self, tensors, config, scratch):
        super().__init__(tensors, config, scratch)
        self.threshold = tensors["threshold"].to(scratch.device).clamp(min=0)

    def activate(self, x_ND, pre_NW, active_NW):
        torch.gt(pre_NW, self.threshold, out=active_NW)


class Standard(Encoder):
    """ReLU."""

    def activate(self, x_ND, pre_NW, active_NW):
        torch.gt(pre_NW, 0, out=active_NW)


class TopK(Encoder):
    """The k largest pre-activations of a token, where positive; by decoder norm where the SAE was trained so."""

    def __init__(self, tensors, config, scratch):
        super().__init__(tensors, config, scratch)
        self.decoder_norm = tensors["decoder_norm"].to(scratch.device) if "decoder_norm" in tensors else None

    def activate(self, x_ND, pre_NW, active_NW):
        if self.decoder_norm is not None:
            pre_NW.mul_(self.decoder_norm)
        top = torch.topk(pre_NW, self.config["k"], dim=-1, sorted=False)
        active_NW.zero_().scatter_(-1, top.indices, top.values > 0)


class Gated(Encoder):
    """ReLU(x (W_enc · exp r_mag) + b_mag) where the gate x W_enc + b_gate is positive; `b_enc` holds b_gate."""

    def __init__(self, tensors, config, scratch):
        super().__init__(tensors, config, scratch)
        W_DW = tensors["W_enc"] * tensors["r_mag"].exp()
        self.W_magnitude = _laid_out(W_DW.to(scratch.device, scratch.matmul))
        self.b_magnitude = tensors["b_mag"].to(scratch.device)

    def activate(self, x_ND, pre_NW, active_NW):
        open_NW = pre_NW > 0
        self._multiply(x_ND, self.W_magnitude, pre_NW).add_(self.b_magnitude)
        torch.gt(pre_NW, 0, out=active_NW).logical_and_(open_NW)


class SAELens(Encoder):
    """Any other architecture, by SAELens' own `encode`: slower, and its import costs 4-6 s and 490 MiB."""

    def __init__(self, tensors, config, scratch):
        from tessera.saes.saelens import revive  # imports sae_lens

        self.config = config
        self.sae = revive(config["saelens"], tensors).to(scratch.device)
        self.d_in, self.width = self.sae.cfg.d_in, self.sae.cfg.d_sae
        self.rows = max(1, scratch.entries // self.width)
        self.reads_neighbours = config["architecture"] == "temporal"

    @torch.inference_mode()
    def encode(self, state_ND, lengths_E=None):
        if self.reads_neighbours:
            parts = [self.sae.encode(x_TD[None])[0] for x_TD in state_ND.float().split(lengths_E.tolist())]
        else:
            parts = (self.sae.encode(x_ND) for x_ND in state_ND.float().split(self.rows))
        dense = (part.to_dense() if part.is_sparse else part for part in parts)
        return _joined([sparsify(part_NW.contiguous(), part_NW != 0) for part_NW in dense])


def _layer_norm(x_ND: torch.Tensor) -> torch.Tensor:
    """As SAELens does it: the sample standard deviation, with 1e-5 added to it."""
    x_ND = x_ND - x_ND.mean(dim=-1, keepdim=True)
    return x_ND / (x_ND.std(dim=-1, keepdim=True) + 1e-5)


# What an SAE does to its input at run time.
NORMS = {
    "none": lambda x_ND: x_ND,
    "layer_norm": _layer_norm,
    "constant_norm_rescale": lambda x_ND: x_ND * (x_ND.shape[-1] ** 0.5 / x_ND.norm(dim=-1, keepdim=True)),
}
# What undoes it, as SAELens does: of layer_norm without the 1e-5, and its mean, which no latent adds, left aside.
OUTPUT_SCALES = {
    "none": lambda x_ND: torch.ones_like(x_ND[:, :1]),
    "layer_norm": lambda x_ND: x_ND.std(dim=-1, keepdim=True),
    "constant_norm_rescale": lambda x_ND: x_ND.norm(dim=-1, keepdim=True) / x_ND.shape[-1] ** 0.5,
}
ENCODERS: dict[str, type[Encoder]] = {"jumprelu": JumpReLU, "standard": Standard, "topk": TopK, "gated": Gated}


def load_encoder(path: Path, scratch: Scratch) -> Encoder:
    """The encoder that `prepare` wrote to `path`, on the device and in the precision of `scratch`.

    Raises:
        TesseraError: it does not fit on the device.
    """
    config = read_about(path)
    kind = SAELens if "saelens" in config else ENCODERS[config["architecture"]]
    try:
        return kind(read_tensors(path), config, scratch)
    except torch.OutOfMemoryError:
        raise TesseraError(
            f"out of memory loading {path}: give this pass fewer widths, the rest a pass of their own"
        ) from None


def read_about(path: Path) -> dict:
    """What a prepared file says of itself."""
    with _opened(path) as file:
        return json.loads(file.metadata()["tessera"])


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, FileNotFoundError) as error:
        raise TesseraError(f"{path} is not a readable safetensors file ({error})") from error
