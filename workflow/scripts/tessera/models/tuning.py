"""Fine-tune a model: the twin that features are carried over to."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tessera.base.errors import TesseraError
from tessera.base.files import atomic
from tessera.examples.splits import classes
from tessera.models.text import TextModel, contents

logger = logging.getLogger("tessera")
WARM_UP = 0.1  # share of the steps
REPORTS = 10


def tune(
    model: TextModel,
    examples: pl.DataFrame,
    out: Path,
    *,
    max_tokens: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train all weights, and a linear head on the mean of the last layer's content tokens, to tell the labels.

    The model without the head, and its tokenizer or image processor, are saved to the folder `out`.

    Args:
        examples: the training split (columns text or image, and label), read in seeded shuffles until `steps` batches
            are through.

    Raises:
        TesseraError: the loss is not finite.
    """
    torch.manual_seed(seed)
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    names = classes(examples["label"])
    label_E = torch.tensor([names.index(label) for label in examples["label"]], device=model.device)
    module = model.module.requires_grad_(True).train()
    head = torch.nn.Linear(model.d_model, len(names)).to(model.device)
    optimiser = torch.optim.AdamW([*module.parameters(), *head.parameters()], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    order, loss_sum, hits, seen = _shuffles(len(examples), batch * steps, seed), 0.0, 0, 0
    for step in range(steps):
        rows = order[step * batch : (step + 1) * batch]
        inputs = model.inputs(tokens, rows)
        state_BTD = module(**inputs.arguments).last_hidden_state
        content_BT1 = torch.from_numpy(inputs.content_BT).to(model.device)[..., None].to(state_BTD.dtype)
        logits_BC = head((state_BTD * content_BT1).sum(dim=1) / content_BT1.sum(dim=1))
        label_B = label_E[torch.from_numpy(rows).to(model.device)]
        loss = torch.nn.functional.cross_entropy(logits_BC, label_B)
        if not loss.isfinite():
            raise TesseraError(f"step {step}: the loss is {loss.item()}; lower learning_rate")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        loss_sum += loss.item() * len(rows)
        hits += (logits_BC.argmax(dim=1) == label_B).sum().item()
        seen += len(rows)
        if (step + 1) % max(1, steps // REPORTS) == 0:
            logger.info("step %d of %d: loss %.3f, accuracy %.3f", step + 1, steps, loss_sum / seen, hits / seen)
            loss_sum, hits, seen = 0.0, 0, 0
    with atomic(out) as part:
        module.eval()
        model.save(part)
        for file in part.glob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes 0600, which breaks shared clusters


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear rise, then a linear fall to 0."""
    warm = max(1, round(WARM_UP * steps))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _shuffles(size: int, wanted: int, seed: int) -> np.ndarray:
    """`wanted` row numbers: whole shuffles of all rows, one after the other."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(size) for _ in range(-(-wanted // size))])[:wanted]
