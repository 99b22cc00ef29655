"""TF-IDF of words or of characters."""

import logging
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

logger = logging.getLogger("tessera")


NGRAMS = {"word": ("word", (1, 2)), "char": ("char", (2, 5))}


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
