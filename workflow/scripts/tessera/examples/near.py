"""Near-duplicates: texts that are equal but for case, punctuation and spaces, or that share most of their characters.

Two such texts tell as much as one: parted between training and test they leak, counted as two they feign certainty.
Texts of one template are near-duplicates where the template is most of them.
"""

from itertools import chain, combinations

import numpy as np
import polars as pl
from scipy.cluster.hierarchy import DisjointSet

from tessera.examples.forms import form

# Chosen on texts of known templates and on ordinary ones: config/README.md has the figures.
SIGNS, JACCARD = 4, 0.45  # characters of a shingle; similarity from which two texts are near
BANDS, ROWS = 96, 4  # of the MinHashes: two texts that are just near become candidates with probability .98


def clusters(texts: pl.Series) -> pl.Series:
    """A number per text, equal for near-duplicates, directly or through other texts (single linkage).

    Near are texts whose sets of character 4-grams, in lower case and without punctuation, have a Jaccard similarity of
    `JACCARD`. Candidates are found by MinHash (Broder 1997) and banding, and each is verified, so that a pair may be
    missed but is never made up. The numbers depend on the texts alone, not on their order.
    """
    from datasketch import MinHash  # heavy, and only the reading of examples looks for near-duplicates

    forms = pl.Series([form(text) for text in texts], dtype=pl.String)
    distinct = forms.unique().sort()
    sets = ([shingle.encode() for shingle in shingles(one)] for one in distinct)
    hashes_FH = np.empty((len(distinct), BANDS * ROWS), dtype=np.uint32)
    for number, minhash in enumerate(MinHash.generator(sets, num_perm=BANDS * ROWS)):
        hashes_FH[number] = minhash.hashvalues
    found = DisjointSet(range(len(distinct)))
    for band_FR in np.split(hashes_FH, BANDS, axis=1):
        band = pl.DataFrame(band_FR, schema=[f"hash {row}" for row in range(ROWS)])
        alike = (
            band.with_row_index("form").group_by(pl.exclude("form")).agg("form").filter(pl.col("form").list.len() > 1)
        )
        for one, other in chain.from_iterable(combinations(bucket, 2) for bucket in alike["form"].to_list()):
            if not found.connected(one, other) and _near(shingles(distinct[one]), shingles(distinct[other])):
                found.merge(one, other)
    root = np.empty(len(distinct), dtype=np.int64)
    for subset in found.subsets():
        root[list(subset)] = min(subset)
    cluster = forms.replace_strict(distinct, pl.Series(root), return_dtype=pl.Int64)
    return cluster.rank("dense").cast(pl.UInt32) - 1


def shingles(form: str) -> set[str]:
    return {form[start : start + SIGNS] for start in range(max(1, len(form) - SIGNS + 1))}


def _near(one: set[str], other: set[str]) -> bool:
    fewer, more = sorted((len(one), len(other)))
    if fewer < JACCARD * more:
        return False
    common = len(one & other)
    return common >= JACCARD * (fewer + more - common)
