"""Bags of words: the vocabulary comes from the training texts, in every script."""

import numpy as np
from tessera.features.spaces import Standardised
from tessera.features.tfidf import Ngrams

TRAIN = np.array([True, True, True, False])


def tfidf_of(texts, pooling):
    """N-grams fitted on the training texts, of all texts."""
    texts = np.array(texts, dtype=object)
    return Ngrams(texts[TRAIN], pooling).apply(texts)


def test_vocabulary_is_of_the_training_texts():
    texts = ["red house", "red hill", "red mill", "green green house"]
    matrix = tfidf_of(texts, "word")
    assert matrix.shape == (4, 1)  # only red is in two training texts
    assert matrix[[3]].nnz == 0


def test_a_script_without_spaces_has_words_too():
    texts = ["\u4eca\u5929\u4e0b\u96e8", "\u4eca\u5929\u6674\u5929", "\u660e\u5929\u4e0b\u96ea", "\u4eca\u5929"]
    for pooling in ("word", "char"):
        assert tfidf_of(texts, pooling)[:3].nnz > 0


def test_scale_is_of_the_training_rows():
    hidden = np.random.default_rng(0).normal(3, 2, size=(40, 5)).astype(np.float32)
    train = np.arange(40) < 30
    scaled = Standardised(hidden[train]).apply(hidden)
    np.testing.assert_allclose(scaled[train].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[train].std(axis=0), 1, atol=1e-5)
    assert abs(scaled[~train].mean()) > 1e-3
