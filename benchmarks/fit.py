"""What one fit_probe costs: 5 folds × 3 values of C and the refit, on a binarised matrix of 5,000 training texts."""

import time

import library  # noqa: F401 (makes it importable)
import numpy as np
import scipy.sparse as sp
from tessera.features.spaces import Thresholding
from tessera.probes.fit import Folds, fit_probe

TEXTS, DENSITY = 5000, 0.05


def main() -> None:
    for width, classes in ((16_384, 2), (131_072, 2), (16_384, 10)):
        generator = np.random.default_rng(0)
        label_E = generator.integers(classes, size=TEXTS)
        features_EW = sp.random(TEXTS, width, DENSITY, format="csr", dtype=np.float32, random_state=0)
        features_EW.data[:] = 1
        hint_EW = sp.csr_array((np.ones(TEXTS, np.float32), (np.arange(TEXTS), label_E)), shape=(TEXTS, width))
        train_EW = sp.csr_array(features_EW + hint_EW.multiply(generator.random((TEXTS, 1)) < 0.5), dtype=np.float32)
        folds = Folds(train_EW, label_E, np.arange(TEXTS) % 5, lambda inside: Thresholding.fit(inside, "0.0"))
        started = time.process_time()
        fit_probe(train_EW, label_E, folds, [str(c) for c in range(classes)], [0.01, 0.1, 1.0])
        print(f"width {width}, {classes} classes: {time.process_time() - started:.1f} CPU-s")


if __name__ == "__main__":
    main()
