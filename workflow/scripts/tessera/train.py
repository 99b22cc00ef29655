"""Train SAEs with SAELens on cached activations, and measure what was saved.

One of the two modules that import sae_lens (4-6 s, 490 MiB); the jobs that only encode do not.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, SAETrainer
from sae_lens.config import SAETrainerConfig

from tessera.errors import TesseraError
from tessera.io import atomic

logger = logging.getLogger("tessera")

HELD_OUT = 0.1  # share of the cached tokens, the last texts, that training never sees
CALIBRATION = 4096  # training tokens that set the threshold
CHUNK = 2048


def batches(tokens_ND: np.ndarray, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Endless random batches [size, d]: a data provider for SAELens. Every token once per epoch."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(tokens_ND))
        for start in range(0, len(order) - size + 1, size):
            yield torch.from_numpy(tokens_ND[np.sort(order[start : start + size])])


def train(
    cache: Path,
    out: Path,
    *,
    layer: int,
    width: int,
    k: int,
    steps: int,
    batch_tokens: int,
    learning_rate: float,
    seed: int,
) -> pl.DataFrame:
    """Train a BatchTopK SAE on the residuals [N, d] in `cache` and save it to the folder `out` as JumpReLU.

    Returns one row: variance explained, L0 and dead latents of the SAVED SAE, on held-out tokens.

    Raises:
        TesseraError: there are fewer tokens than one batch.
    """
    tokens_ND = np.load(cache, mmap_mode="r")
    split = int(len(tokens_ND) * (1 - HELD_OUT))
    train_ND, held_out_ND = tokens_ND[:split], tokens_ND[split:]
    if len(train_ND) < batch_tokens:
        raise TesseraError(
            f"{cache}: {len(train_ND)} training tokens, fewer than batch_tokens: {batch_tokens}; add texts"
        )
    if k >= width:
        raise TesseraError(f"k: {k} is not smaller than the width, {width}")
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=tokens_ND.shape[1],
            d_sae=width,
            k=k,
            topk_threshold_lr=0.05,  # the default, 0.01, lags behind a short training: L0 comes out 4 × too high
            rescale_acts_by_decoder_norm=False,
            decoder_init_norm=0.5,
            normalize_activations="expected_average_only_in",
        )
    )
    _start_at_data(sae, train_ND, seed)
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=steps * batch_tokens,
            train_batch_size_samples=batch_tokens,
            lr=learning_rate,
            lr_end=learning_rate / 10,
            lr_decay_steps=steps // 2,
            n_batches_for_norm_estimate=20,
            autocast=False,
        ),
        sae=sae,
        data_provider=batches(train_ND, batch_tokens, seed),
    )
    with atomic(out) as part:
        trainer.fit().save_inference_model(part)  # fit() folds the input scale into the weights
        saved = SAE.load_from_disk(part)
        saved.fold_W_dec_norm()  # unit decoder rows: an activation is then a length in the residual stream
        sample_ND = train_ND[:: max(1, len(train_ND) // CALIBRATION)]
        _set_l0(saved, sample_ND, k)
        l0 = measure(saved, sample_ND)["l0"][0]
        if not k / 2 < l0 < 2 * k:
            raise TesseraError(
                f"the SAE of width {width} did not train: {l0:.1f} latents are active per token, not k: {k}; "
                f"lower learning_rate or k"
            )
        saved.cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
        saved.save_model(part)
        for file in part.iterdir():
            file.chmod(0o644)
        quality = measure(SAE.load_from_disk(part), held_out_ND)
    logger.info("width %d: %s", width, quality.row(0, named=True))
    return quality


def _start_at_data(sae: BatchTopKTrainingSAE, tokens_ND: np.ndarray, seed: int) -> None:
    """Point decoder rows from the mean token at sampled tokens: a short training ends with fewer dead latents."""
    generator = np.random.default_rng(seed)
    sample = generator.choice(len(tokens_ND), size=min(len(tokens_ND), sae.cfg.d_sae), replace=False)
    rows_WD = torch.from_numpy(tokens_ND[np.sort(sample)])[torch.arange(sae.cfg.d_sae) % len(sample)]
    mean_D = rows_WD.mean(dim=0)
    scale = sae.cfg.d_in**0.5 / rows_WD.norm(dim=1).mean()  # of SAELens' expected_average_only_in
    rows_WD = torch.nn.functional.normalize(rows_WD - mean_D, dim=1)
    with torch.no_grad():
        sae.W_dec.copy_(rows_WD * sae.cfg.decoder_init_norm)
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_dec.copy_(mean_D * scale)


@torch.inference_mode()
def _set_l0(sae: SAE, tokens_ND: np.ndarray, k: int) -> None:
    """Scale the thresholds, in common, so that k latents are active per token on average."""
    norms_W = sae.threshold.clone()  # one threshold before the decoder norms were folded in: theirs up to a factor
    sae.threshold.data.zero_()
    relative = torch.cat([(acts / norms_W)[acts > 0] for acts in (sae.encode(chunk) for chunk in _chunks(tokens_ND))])
    wanted = min(k * len(tokens_ND), len(relative))
    if not wanted:
        return
    sae.threshold.data.copy_(norms_W * torch.topk(relative, wanted).values[-1])


@torch.inference_mode()
def measure(sae: SAE, tokens_ND: np.ndarray) -> pl.DataFrame:
    """Variance explained 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², mean L0 and share of never active latents on `tokens_ND`."""
    mean = torch.from_numpy(tokens_ND.mean(axis=0))
    error = total = active = 0.0
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    for chunk in _chunks(tokens_ND):
        acts = sae.encode(chunk)
        error += (chunk - sae.decode(acts)).double().square().sum().item()
        total += (chunk - mean).double().square().sum().item()
        active += (acts != 0).sum().item()
        fired |= (acts != 0).any(dim=0)
    return pl.DataFrame(
        {
            "variance_explained": [1 - error / total],
            "l0": [active / len(tokens_ND)],
            "dead": [1 - fired.float().mean().item()],
            "held_out_tokens": [len(tokens_ND)],
        }
    )


def _chunks(tokens_ND: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(tokens_ND), CHUNK):
        yield torch.from_numpy(np.array(tokens_ND[start : start + CHUNK]))
