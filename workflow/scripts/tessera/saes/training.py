"""Train SAEs with SAELens on cached activations, and measure what was saved.

One of the two modules that import sae_lens (4-6 s, 490 MiB); the jobs that only encode do not.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import sae_lens
import torch
from sae_lens import SAE, SAETrainer
from sae_lens.config import SAETrainerConfig
from safetensors.torch import load_file, save_file

from tessera import VERSIONS
from tessera.base.errors import TesseraError
from tessera.base.files import atomic, remove_parts
from tessera.saes.preparing import HOOKS

logger = logging.getLogger("tessera")
HELD_OUT, HELD_OUT_MOST = 0.1, 65536  # share of the cached tokens, the last texts, that nothing but `measure` sees
# share in front of them that training never sees either; these, evenly spread, set the thresholds
CALIBRATION, CALIBRATION_MOST = 0.05, 4096
# share of the steps; within the 1000 of SAELens no short training would ever revive a latent
DEAD_WINDOW, DEAD_WINDOW_MOST = 0.05, 1000
DENSE = 0.5  # share of tokens, over which a latent tells them apart no more
CHUNK = 2048
BUFFER_BYTES = 256 * 2**20  # of tokens that are shuffled together
SPARSITY_GAIN, SPARSITY_LEAD = 0.05, 20  # per step, steps: 200 steps reach the wanted L0, hardly overshooting
CHECKPOINT_SECONDS = 60
CHECKPOINT_FILES = ("trainer_state.pt", "activation_scaler.json", "sae.safetensors", "checkpoint.json")
TOPK = {"rescale_acts_by_decoder_norm": True}
BATCHTOPK = {
    "topk_threshold_lr": 0.05,  # the default, 0.01, lags behind a short training: L0 comes out 4 x too high
    "rescale_acts_by_decoder_norm": False,
}
# SAELens' class names, and options that differ from its defaults. standard, jumprelu and gated get their L0 from a
# penalty, whose weight is steered so that k latents are active, as for the others.
ARCHITECTURES: dict[str, tuple[str, dict]] = {
    "batchtopk": ("BatchTopK", BATCHTOPK),
    "matryoshka_batchtopk": ("MatryoshkaBatchTopK", BATCHTOPK),
    "topk": ("TopK", TOPK),
    # wide enough a band of pre-activations pulls at the thresholds, and the encoder feels it too
    "jumprelu": (
        "JumpReLU",
        {"jumprelu_bandwidth": 2.0, "jumprelu_init_threshold": 0.1, "jumprelu_ste_to_input": True},
    ),
    "standard": ("Standard", {}),
    "gated": ("Gated", {}),
}
MATRYOSHKA_LEVELS = (8, 4, 2, 1)  # the width over these
# freeze → directions that stay as they are drawn; biases and thresholds are learnt beside them (arXiv 2602.14111).
FROZEN = {"decoder": ("W_dec",), "encoder": ("W_enc",), "all": ("W_dec", "W_enc")}


def batches(tokens_ND: np.ndarray, size: int, seed: int, start: int = 0) -> Iterator[torch.Tensor]:
    """Endless random batches [size, d] from batch `start` on, every token once per epoch but for incomplete batches.

    `tokens_ND` may be larger than memory: stretches of it are read whole, in random order, and shuffled inside.
    """
    rows = max(size, BUFFER_BYTES // (4 * tokens_ND.shape[1]))
    starts = np.arange(0, len(tokens_ND) - size + 1, rows)
    stretches = [slice(first, min(first + rows, len(tokens_ND))) for first in starts]
    counts = [(stretch.stop - stretch.start) // size for stretch in stretches]
    epoch, skip = divmod(start, sum(counts))
    while True:
        for index in np.random.default_rng([seed, epoch]).permutation(len(stretches)):
            if skip >= counts[index]:
                skip -= counts[index]
                continue
            buffer_ND = np.array(tokens_ND[stretches[index]])
            order = np.random.default_rng([seed, epoch, index]).permutation(len(buffer_ND))
            for batch in range(skip, counts[index]):
                yield torch.from_numpy(buffer_ND[order[batch * size : (batch + 1) * size]])
            skip = 0
        epoch += 1


def train(
    cache: Path,
    out: Path,
    *,
    layer: int,
    hook: str,
    width: int,
    architecture: str,
    k: int,
    steps: int,
    batch_tokens: int,
    learning_rate: float,
    seed: int,
    freeze: str | None = None,
    device: str = "cpu",
) -> pl.DataFrame:
    """Train an SAE on the activations [N, d] in `cache` and save it to the folder `out`, unit decoder rows.

    A killed training goes on from its last checkpoint, in the folder `checkpoint` beside `out`. What `freeze` names
    (FROZEN) stays a random direction per latent, at the start the same in decoder and encoder; of `all` no step is
    made: beside the mean token, which they start from, thresholds alone know the activations.

    Returns one row: architecture, and what `measure` finds of the SAVED SAE on held-out tokens.

    Raises:
        TesseraError: there are fewer tokens than one batch, or L0 comes out off `k` by a factor of 2.
    """
    tokens_ND = np.load(cache, mmap_mode="r")
    train_ND, unseen_ND, held_out_ND = parts(tokens_ND)
    if len(train_ND) < batch_tokens:
        raise TesseraError(
            f"{cache}: {len(train_ND)} training tokens, fewer than batch_tokens: {batch_tokens}; add texts"
        )
    if k >= width:
        raise TesseraError(f"k: {k} is not smaller than the width, {width}")
    steps = 0 if freeze == "all" else steps
    torch.manual_seed(seed)
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=max(1, steps) * batch_tokens,  # SAELens' schedules want one
            train_batch_size_samples=batch_tokens,
            lr=learning_rate,
            lr_end=learning_rate / 10,
            lr_decay_steps=steps // 2,
            dead_feature_window=max(1, min(round(DEAD_WINDOW * steps), DEAD_WINDOW_MOST)),
            device=device,
        ),
        sae=_new_sae(architecture, tokens_ND.shape[1], width, k, device),
        data_provider=batches(train_ND, batch_tokens, seed),
    )
    _start_at_data(trainer.sae, train_ND, seed, aimed=freeze is None)
    for name in FROZEN.get(freeze, ()):
        getattr(trainer.sae, name).requires_grad_(False)
    identity = [layer, hook, width, architecture, k, steps, batch_tokens, learning_rate, seed, freeze]
    identity += [VERSIONS["train_sae"], sae_lens.__version__, cache.stat().st_size, cache.stat().st_mtime_ns]
    checkpoint = out.with_name("checkpoint")
    sae = fit(trainer, train_ND, k, seed, steps, checkpoint, json.dumps(identity))
    with atomic(out) as part:
        sae.save_inference_model(part)
        saved = SAE.load_from_disk(part, device=device)
        saved.fold_W_dec_norm()  # unit decoder rows: an activation is then a length in the residual stream
        if freeze == "all":
            saved.W_enc.data.copy_(saved.W_dec.T)  # whatever was their norm: no training came to scale them
        if hasattr(saved, "threshold"):
            if freeze == "all":
                saved.threshold.data.fill_(1)  # one for all latents, which are alike
            _set_l0(saved, unseen_ND[:: max(1, len(unseen_ND) // CALIBRATION_MOST)], k)
        l0 = measure(saved, unseen_ND)["l0"][0]
        if not k / 2 < l0 < 2 * k:
            raise TesseraError(
                f"the {architecture} SAE of width {width} did not train: {l0:.1f} latents are active per token, not "
                f"k: {k}; give it more steps, or lower learning_rate or k"
            )
        saved.cfg.metadata.hook_name = f"blocks.{layer}.{next(name for name in HOOKS if HOOKS[name] == hook)}"
        saved.save_model(part)
        for file in part.iterdir():
            file.chmod(0o644)
        quality = measure(SAE.load_from_disk(part, device=device), held_out_ND)
    shutil.rmtree(checkpoint, ignore_errors=True)
    remove_parts(checkpoint)  # of a killed `_save`
    logger.info("width %d: %s", width, quality.row(0, named=True))
    return quality.insert_column(0, pl.lit(architecture).alias("architecture"))


def parts(tokens_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cached tokens to train on, those that set the thresholds, and the last ones, which only measure."""
    last, before = (min(math.ceil(len(tokens_ND) * share), HELD_OUT_MOST) for share in (HELD_OUT, CALIBRATION))
    return tokens_ND[: -last - before], tokens_ND[-last - before : -last], tokens_ND[-last:]


def measure_borrowed(folder: Path, cache: Path, architecture: str) -> pl.DataFrame:
    """The quality of the SAE in `folder` on another model's held-out activations, as `train` gives its own.

    Raises:
        TesseraError: that model's activations have another size.
    """
    sae, tokens_ND = SAE.load_from_disk(folder, device="cpu"), np.load(cache, mmap_mode="r")
    if sae.cfg.d_in != tokens_ND.shape[1]:
        raise TesseraError(
            f"{folder}: the SAE reads {sae.cfg.d_in} dimensions, the model has {tokens_ND.shape[1]} there"
        )
    quality = measure(sae, parts(tokens_ND)[-1])
    return quality.insert_column(0, pl.lit(architecture).alias("architecture"))


def _new_sae(architecture: str, d_in: int, width: int, k: int, device: str) -> sae_lens.TrainingSAE:
    name, options = ARCHITECTURES[architecture]
    if "TopK" in name:
        options = options | {"k": k}
    if architecture.startswith("matryoshka"):
        options = options | {"matryoshka_widths": [width // part for part in MATRYOSHKA_LEVELS if width // part > k]}
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(
        d_in=d_in,
        d_sae=width,
        decoder_init_norm=0.5,
        normalize_activations="expected_average_only_in",
        device=device,
        **options,
    )
    return getattr(sae_lens, f"{name}TrainingSAE")(config)


class Steering:
    """Weighs the sparsity penalty so that k latents are active: up where more are, down where fewer soon will be."""

    def __init__(self, k: int):
        self.k, self.off, self.slope = k, None, 0.0

    def step(self, scheduler, l0: float) -> None:
        off = math.log(max(l0, 1e-3) / self.k)
        if self.off is not None:
            self.slope = 0.8 * self.slope + 0.2 * (off - self.off)
        self.off = off
        push = max(-1.0, min(1.0, off + SPARSITY_LEAD * self.slope))
        scheduler.current_value = scheduler.final_value = scheduler.current_value * math.exp(SPARSITY_GAIN * push)


def fit(
    trainer: SAETrainer, train_ND: np.ndarray, k: int, seed: int, steps: int, checkpoint: Path, identity: str
) -> sae_lens.TrainingSAE:
    """All steps of `trainer`, from `checkpoint` on where one with this `identity` is there; the input scale folded."""
    size = trainer.cfg.train_batch_size_samples
    steering = Steering(k)
    if not _resume(trainer, steering, checkpoint, identity):
        trainer.activation_scaler.estimate_scaling_factor(
            d_in=train_ND.shape[1], data_provider=batches(train_ND, size, seed), n_batches_for_norm_estimate=20
        )
    started, first, saved = time.monotonic(), trainer.n_training_steps, time.monotonic()
    provider = batches(train_ND, size, seed, start=first)
    for step in range(first, steps):
        output = trainer.step(next(provider))
        trainer.n_training_steps += 1
        for scheduler in trainer.coefficient_schedulers.values():  # at most one
            steering.step(scheduler, (output.feature_acts != 0).sum().item() / size)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(trainer, steering, checkpoint, identity)
            saved = time.monotonic()
            rate = (step + 1 - first) / (saved - started)
            logger.info("step %d of %d, %.1f steps/s, %.0f s left", step + 1, steps, rate, (steps - step - 1) / rate)
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return trainer.sae.eval()


def _save(trainer: SAETrainer, steering: Steering, checkpoint: Path, identity: str) -> None:
    with atomic(checkpoint) as part:
        trainer.save_trainer_state(part)
        weights = {name: tensor.contiguous() for name, tensor in trainer.sae.state_dict().items()}
        save_file(weights, part / "sae.safetensors")
        coefficients = {name: scheduler.current_value for name, scheduler in trainer.coefficient_schedulers.items()}
        state = {"identity": identity, "coefficients": coefficients, "steering": [steering.off, steering.slope]}
        (part / "checkpoint.json").write_text(json.dumps(state))


def _resume(trainer: SAETrainer, steering: Steering, checkpoint: Path, identity: str) -> bool:
    """Put `trainer` where `checkpoint` left it; False where there is none, or one of another training."""
    if not all((checkpoint / name).is_file() for name in CHECKPOINT_FILES):
        return False  # none, or what a kill left of one that was being replaced
    state = json.loads((checkpoint / "checkpoint.json").read_text())
    if state["identity"] != identity:
        logger.info("%s is of another training; starting anew", checkpoint)
        return False
    trainer.load_trainer_state(checkpoint)
    trainer.sae.load_state_dict(load_file(checkpoint / "sae.safetensors"))
    for name, value in state["coefficients"].items():
        scheduler = trainer.coefficient_schedulers[name]
        scheduler.current_value = scheduler.final_value = value
    steering.off, steering.slope = state["steering"]
    logger.info("going on from step %d", trainer.n_training_steps)
    return True


def _start_at_data(sae: sae_lens.TrainingSAE, tokens_ND: np.ndarray, seed: int, aimed: bool) -> None:
    """Start at the mean token.

    With `aimed`, decoder rows point from there at sampled tokens (a short training ends with fewer dead latents); else
    they stay as they are drawn.
    """
    generator = np.random.default_rng(seed)
    sample = generator.choice(len(tokens_ND), size=min(len(tokens_ND), sae.cfg.d_sae), replace=False)
    rows_WD = torch.from_numpy(tokens_ND[np.sort(sample)])[torch.arange(sae.cfg.d_sae) % len(sample)]
    mean_D = rows_WD.mean(dim=0)
    scale = sae.cfg.d_in**0.5 / rows_WD.norm(dim=1).mean()  # of SAELens' expected_average_only_in
    rows_WD = torch.nn.functional.normalize(rows_WD - mean_D, dim=1)
    with torch.no_grad():
        if aimed:
            sae.W_dec.copy_(rows_WD * sae.cfg.decoder_init_norm)
            sae.W_enc.copy_(sae.W_dec.T)
        sae.b_dec.copy_(mean_D * scale)


@torch.inference_mode()
def _set_l0(sae: SAE, tokens_ND: np.ndarray, k: int) -> None:
    """Scale the thresholds, in common, so that k latents are active per token on average."""
    norms_W = sae.threshold.clone()  # one threshold before the decoder norms were folded in: theirs up to a factor
    sae.threshold.data.zero_()
    relative = torch.cat(
        [(acts / norms_W)[acts > 0] for acts in (sae.encode(chunk) for chunk in _chunks(tokens_ND, sae.device))]
    )
    wanted = min(k * len(tokens_ND), len(relative))
    if not wanted:
        return
    sae.threshold.data.copy_(norms_W * _between(relative, wanted))


def _between(values: torch.Tensor, wanted: int) -> float:
    """What about `wanted` of the values exceed: the middle of the widest gap within a thousandth of that rank.

    A threshold on a value itself would leave it to rounding whether that one, and what equals it, fires.
    """
    ranked = torch.topk(values, min(wanted + max(2, wanted // 1000), len(values))).values[wanted - 1 :]
    if len(ranked) == 1:  # all of them
        return ranked.item() / 2
    place = (ranked[:-1] - ranked[1:]).argmax()
    return ranked[place : place + 2].mean().item()


@torch.inference_mode()
def measure(sae: SAE, tokens_ND: np.ndarray) -> pl.DataFrame:
    """Variance explained 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖² and its mean per token 1 − ‖x − x̂‖² / ‖x − x̄‖², mean L0, share of
    never active latents and of those active on over `DENSE` of `tokens_ND`."""
    mean = torch.from_numpy(tokens_ND.mean(axis=0)).to(sae.device)
    error = total = unexplained = 0.0
    counts_W = torch.zeros(sae.cfg.d_sae, dtype=torch.int64, device=sae.device)
    for chunk in _chunks(tokens_ND, sae.device):
        acts = sae.encode(chunk)
        error_N = (chunk - sae.decode(acts)).double().square().sum(dim=1)
        total_N = (chunk - mean).double().square().sum(dim=1)
        error, total = error + error_N.sum().item(), total + total_N.sum().item()
        unexplained += (error_N / total_N).sum().item()
        counts_W += (acts != 0).sum(dim=0)
    return pl.DataFrame(
        {
            "variance_explained": [1 - error / total],
            "variance_explained_per_token": [1 - unexplained / len(tokens_ND)],
            "l0": [counts_W.sum().item() / len(tokens_ND)],
            "dead": [(counts_W == 0).float().mean().item()],
            "dense": [(counts_W > DENSE * len(tokens_ND)).float().mean().item()],
            "held_out_tokens": [len(tokens_ND)],
        }
    )


def _chunks(tokens_ND: np.ndarray, device: torch.device) -> Iterator[torch.Tensor]:
    for start in range(0, len(tokens_ND), CHUNK):
        yield torch.from_numpy(np.array(tokens_ND[start : start + CHUNK])).to(device)
