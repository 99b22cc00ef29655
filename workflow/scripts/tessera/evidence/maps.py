"""Maps: examples drawn in a plane by UMAP, as the probe on latents sees them, and by the hidden states beside them.

McInnes, Healy and Melville 2018 (arXiv 1802.03426). A map keeps who is near to whom; how far clusters lie from one
another, and how large they are, says nothing.
"""

import warnings

import numpy as np
import polars as pl
import scipy.sparse as sp

from tessera.evidence.reading import Place
from tessera.features.pooling import read_features
from tessera.features.spaces import Features, Standardised
from tessera.study.grid import BEFORE_ANSWER

NEIGHBOURS = 15  # of an example: UMAP's own default
LATENTS, HIDDEN = "SAE latents", "hidden states"


def maps(place: Place) -> pl.DataFrame:
    """A row per example of training and test, and map: example, split, label, map, x, y.

    Of the latents, the matrix that the probe of the best cell sees, by cosine; of the hidden states, their mean over
    tokens (before the answer, where that cell reads there), standardised, by distance.
    """
    decision, task = place.decision(), place.task
    hidden_ED = place.hidden(BEFORE_ANSWER if decision.cell["pooling"] == BEFORE_ANSWER else "mean")
    matrices = {
        LATENTS: (decision.matrix(read_features(place.pooled(decision), place.width)), "cosine"),
        HIDDEN: (Standardised(hidden_ED[task.train_E]).apply(hidden_ED), "euclidean"),
    }
    shown_E = np.isin(task.split_E, ("train", "test"))  # a further test set may lie apart as a whole
    rows = task.examples.filter(shown_E).select("example", "split", "label")
    return pl.concat(
        rows.with_columns(map=pl.lit(name), x=pl.Series(place_E2[:, 0]), y=pl.Series(place_E2[:, 1]))
        for name, (matrix_EK, metric) in matrices.items()
        for place_E2 in [plane(matrix_EK[shown_E], metric, task.seed)]
    )


def plane(matrix_EK: Features, metric: str, seed: int) -> np.ndarray:
    """Where UMAP puts each row [E, 2]; the same for the same seed."""
    from umap import UMAP  # compiles on import

    rows_EK = sp.csr_matrix(matrix_EK) if sp.issparse(matrix_EK) else matrix_EK  # UMAP knows no sparse arrays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of one thread, and of texts that stand apart from all others
        fitted = UMAP(n_neighbors=min(NEIGHBOURS, rows_EK.shape[0] - 1), metric=metric, random_state=seed, n_jobs=1)
        return fitted.fit_transform(rows_EK).astype(np.float64)
