"""The probe of one large cell: scikit-learn, penalty after penalty, against all folds and penalties in a batch.

A made-up problem read through a wide SAE; that of banking77 at 131k is `--texts 10003 --width 131072 --active 2500
--classes 77`. With `--device cpu` torch fits the batch on a CPU, which no study does: that says what the method costs,
not what a GPU saves.

python benchmarks/probe_fit.py [--texts 1000 --width 16384 --active 300 --classes 77] [--rounds 1] [--device cpu]
"""

import argparse

import library  # noqa: F401 (makes it importable)
import numpy as np
import scipy.sparse as sp
import torch
from harness import side_by_side, table
from tessera.features.spaces import Thresholding
from tessera.probes import gpu
from tessera.probes.fit import Folds, fit_probe
from tessera.probes.registry import PROBES

FOLDS = 5
PENALTIES = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
MEMORY = 4 * 2**30  # bytes that a batch may take of a CPU's


def make(texts: int, width: int, active: int, classes: int) -> tuple[sp.csr_array, Folds, list[str]]:
    """Training features, folds and classes; how often latents fire falls off as that of real ones does.

    In its texts, a class fires each of eight latents of its own with odds of one half.
    """
    generator = np.random.default_rng(0)
    label_E = np.arange(texts) % classes
    odds_W = 1 / (10 + generator.permutation(width))
    odds_W /= odds_W.sum()
    own_C8 = generator.permutation(width)[: 8 * classes].reshape(classes, 8)
    columns = []
    for label in label_E:
        fired = generator.choice(width, size=active, replace=False, p=odds_W)
        columns.append(np.union1d(fired, own_C8[label][generator.random(8) < 0.5]))
    ends = np.cumsum([0, *map(len, columns)])
    values = generator.lognormal(0, 1, size=ends[-1]).astype(np.float32)
    features_EW = sp.csr_array((values, np.concatenate(columns), ends), shape=(texts, width))
    fold_E = np.arange(texts) // classes % FOLDS
    folds = Folds(features_EW, label_E, fold_E, lambda train: Thresholding.fit(train, "none"))
    return Thresholding.fit(features_EW, "none").apply(features_EW), folds, [str(c) for c in range(classes)]


def prepare_sklearn(*shape: int):
    return *make(*shape), PROBES["logistic"]


def prepare_batch(device: str, *shape: int):
    gpu.LARGE = 0
    if device == "cpu":
        torch.set_num_threads(1)
        gpu.pick_device, gpu.free_bytes = (lambda: device), (lambda: MEMORY)
    how = PROBES["logistic"].on("cuda")
    torch.zeros(1, device=device)  # a GPU is started before the clock is
    return *make(*shape), how


def work(state) -> str:
    train_EK, folds, names, how = state
    probe = fit_probe(train_EK, folds.label_E, folds, names, PENALTIES, None, how)
    return f"C {probe.C:g}, macro F1 {probe.cv_macro_f1:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("texts", 1000), ("width", 16_384), ("active", 300), ("classes", 77), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    shape = options.texts, options.width, options.active, options.classes
    found = side_by_side(
        options.rounds,
        {
            "scikit-learn": (prepare_sklearn, work, *shape),
            f"a batch, torch on {options.device}": (prepare_batch, work, options.device, *shape),
        },
    )
    first, second = found.values()
    times = " and ".join(f"{first[key] / second[key]:.2f} x by {key}" for key in ("wall_s", "cpu_s"))
    print(f"\n{shape[0]} texts, {shape[1]} latents, {shape[2]} active, {shape[3]} classes: {times}")
    print(table(found, {"wall_s": ".1f", "cpu_s": ".1f", "peak_mib": ".0f", "result": "s"}))


if __name__ == "__main__":
    main()
