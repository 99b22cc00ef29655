"""TF-IDF: what the words, or the characters, of a text tell by themselves. Its poolings are word and char."""

import logging

import numpy as np
import scipy.sparse as sp

from tessera.examples.examples import read_texts
from tessera.features.kind import Kind, Stored
from tessera.features.spaces import Space

logger = logging.getLogger("tessera")

NGRAMS = {"word": ("word", (1, 2)), "char": ("char", (2, 5))}


class Tfidf(Kind):
    name = "tfidf"
    title = "TF-IDF"
    media = ("text",)

    def load(self, stored: Stored, pooling: str | None) -> np.ndarray:
        return read_texts(stored.examples)

    def space(self, train: np.ndarray, pooling: str | None, threshold: str | None) -> "Ngrams":
        return Ngrams(train, pooling)


class Ngrams(Space):
    """TF-IDF [E, n-grams] of word 1-2-grams or char 2-5-grams seen in two training texts at least.

    No stop words: a list of one language is unfair to the others. Words mean little in a script without spaces.
    """

    def __init__(self, training: np.ndarray, pooling: str):
        from sklearn.feature_extraction.text import TfidfVectorizer  # as in spaces.py

        analyzer, ngrams = NGRAMS[pooling]
        options = {"analyzer": analyzer, "ngram_range": ngrams, "sublinear_tf": True, "dtype": np.float32}
        try:
            self.vectoriser = TfidfVectorizer(min_df=2, **options).fit(training)
        except ValueError:  # a script without spaces: whole sentences are "words", and none occurs twice
            logger.warning("no %s occurs in two training texts: those that occur in one are kept", pooling)
            self.vectoriser = TfidfVectorizer(**options).fit(training)

    def apply(self, features: np.ndarray) -> sp.csr_array:
        return sp.csr_array(self.vectoriser.transform(features))
