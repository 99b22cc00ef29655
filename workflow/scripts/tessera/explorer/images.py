"""Images small enough for a page."""

import base64
import io

import polars as pl

from tessera.examples.images import decode

SIDE = 192  # pixels at most; smaller images stay as they are


def thumbnails(images: pl.Series) -> pl.Series:
    """Encoded images as small ones that stand in an address (data:…)."""
    return pl.Series([_thumbnail(content) for content in images], dtype=pl.String)


def _thumbnail(content: bytes) -> str:
    image, buffer = decode(content), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
