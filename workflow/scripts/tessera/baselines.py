"""What an SAE must beat: hidden states over the same content tokens, bags of words, and pixels."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from tessera.images import decode
from tessera.io import read_parquet, row_groups

logger = logging.getLogger("tessera")

NGRAMS = {"word": ("word", (1, 2)), "char": ("char", (2, 5))}


def read_hidden(files: list[Path], pooling: str) -> np.ndarray:
    """Pooled hidden states [E, d], float32, examples ascending; `pooling` is sum, mean, max or last."""
    column = "sum" if pooling == "mean" else pooling
    tables = [read_parquet(file, ["example", "tokens", column]) for file in files]
    example_E = np.concatenate([table["example"].to_numpy() for table in tables])
    tokens_E = np.concatenate([table["tokens"].to_numpy() for table in tables])
    parts = [table[column].chunk(0) for table in tables]
    hidden_ED = np.concatenate([part.values.to_numpy().reshape(len(part), -1) for part in parts])
    if pooling == "mean":
        hidden_ED = hidden_ED / tokens_E[:, None].astype(np.float32)
    return hidden_ED[np.argsort(example_E, kind="stable")]


def standardise(train_ED: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Zero mean and unit variance per dimension of the training rows."""
    scaler = StandardScaler().fit(train_ED)
    return lambda hidden_ED: scaler.transform(hidden_ED).astype(np.float32)


def lengths(texts: np.ndarray) -> np.ndarray:
    """Characters and words of each text, and the logarithms of both: float32 [E, 4]."""
    counts_E2 = np.array([(len(text), len(text.split())) for text in texts], dtype=np.float32)
    return np.hstack([counts_E2, np.log1p(counts_E2)])


def tfidf(training: np.ndarray, unit: str) -> Callable[[np.ndarray], sp.csr_array]:
    """TF-IDF [E, n-grams] of `unit` (word 1-2-grams, char 2-5-grams) seen in two training texts at least.

    No stop words: a list of one language is unfair to the others. Words mean little in a script without spaces.
    """
    analyzer, ngrams = NGRAMS[unit]
    options = {"analyzer": analyzer, "ngram_range": ngrams, "sublinear_tf": True, "dtype": np.float32}
    try:
        vectoriser = TfidfVectorizer(min_df=2, **options).fit(training)
    except ValueError:  # a script without spaces: whole sentences are "words", and none occurs twice
        logger.warning("no %s occurs in two training texts: those that occur in one are kept", unit)
        vectoriser = TfidfVectorizer(**options).fit(training)
    return lambda texts: sp.csr_array(vectoriser.transform(texts))


def pixels(examples: Path, unit: str) -> np.ndarray:
    """Pixels [E, N² or 3 N²] of the images of an examples file, float32, resized to N × N; `unit` is grayN or rgbN."""
    mode, size = ("L", int(unit[4:])) if unit.startswith("gray") else ("RGB", int(unit[3:]))
    rows = []
    for group in row_groups(examples, ["image"]):
        for content in group["image"]:
            image = decode(content.as_py()).convert(mode).resize((size, size), Image.Resampling.BILINEAR)
            rows.append(np.asarray(image, dtype=np.float32).ravel())
    return np.stack(rows)
