"""Shards of examples: ranges of them, each the work of one job of a model."""

from pathlib import Path

import polars as pl

from tessera.base.errors import TesseraError


def read_shard(file: str | Path, data: str, shard: int, size: int) -> pl.DataFrame:
    """What a model reads of one shard of the examples in a file, `size` to a shard: columns example, and text or image.

    Raises:
        TesseraError: the shard is empty, as a data set from the hub turned out smaller than it was planned.
    """
    examples = pl.scan_parquet(file).slice(shard * size, size).select("example", "^text$", "^image$").collect()
    if examples.is_empty():
        raise TesseraError(
            f"shard {shard} is empty: there are fewer examples than datasets.{data}.max_examples; lower it to what "
            f"there is"
        )
    return examples
