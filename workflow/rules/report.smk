"""Results: the cells merged into tables, and the figures drawn from them."""


rule scores:
    input:
        SAE_SCORES,
        HIDDEN_SCORES,
        TFIDF_SCORES,


rule figures:
    input:
        [],
