"""What directions and erasers are made from, made up: latents of which one is planted per class, states they write."""

import numpy as np
import polars as pl
import scipy.sparse as sp
from tessera.evidence.decision import Decision
from tessera.features.registry import kind
from tessera.probes.task import Task, read_probe
from tessera.steering.directions import Source

SETTINGS = {"seed": 3, "folds": 3, "resamples": 100, "C": [0.01, 0.1, 1.0]}
WIDTH, SIZE, DEAD = 40, 12, 39


def frame(labels: list[str], groups: np.ndarray) -> pl.DataFrame:
    """Examples with these labels; two groups in five are tested."""
    numbers = pl.Series(range(len(labels)), dtype=pl.UInt32)
    return pl.DataFrame(
        {
            "example": numbers,
            "id": [str(number) for number in range(len(labels))],
            "text": [f"text {number}" for number in range(len(labels))],
            "label": labels,
            "split": ["test" if group % 5 in (3, 4) else "train" for group in groups],
            "group": pl.Series(groups, dtype=pl.UInt32),
            "near": numbers,
        }
    )


def source(classes: int = 2, texts: int = 240, k: int = 4, number: int = 1, size: int = SIZE) -> Source:
    """Latent 5 + c fires on texts of class c alone, and more weakly elsewhere; `DEAD` never does; two texts a group."""
    generator = np.random.default_rng(11)
    group_E = np.arange(texts) // 2
    label_E = generator.permutation(np.arange(texts // 2) % classes)[group_E]
    rate_W = generator.uniform(0.1, 0.7, size=WIDTH)
    acts_EW = generator.exponential(size=(texts, WIDTH)) * (generator.random((texts, WIDTH)) < rate_W)
    acts_EW[:, DEAD] = 0
    for one in range(classes):
        acts_EW[:, 5 + one] = np.where(label_E == one, 4.0, 0.5) * generator.exponential(size=texts)
    W_WD = generator.normal(size=(WIDTH, size))
    hidden_ED = (acts_EW @ W_WD + generator.normal(size=(texts, size))).astype(np.float32)
    task = Task(frame([f"class {one}" for one in label_E], group_E), **SETTINGS)
    features_EW = sp.csr_array(acts_EW.astype(np.float32))
    cell = next(task.fit(kind("sae"), features_EW, "mean", "none", ["none"]))
    fitted = read_probe(cell.scores, cell.coefficients, task.classes)
    return Source(task, Decision({}, task.classes, *fitted), features_EW, hidden_ED, W_WD, number, k)
