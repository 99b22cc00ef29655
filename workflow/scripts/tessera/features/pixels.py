"""Pixels: what an image tells without a model. Its poolings are grayN and rgbN, images resized to N × N."""

from pathlib import Path

import numpy as np
from PIL import Image

from tessera.base.files import row_groups
from tessera.examples.images import decode
from tessera.features.kind import Kind, Stored


class Pixels(Kind):
    name = "pixels"
    title = "pixels"
    media = ("image",)

    def load(self, stored: Stored, pooling: str | None) -> np.ndarray:
        return read_pixels(stored.examples, pooling)


def read_pixels(examples: Path, pooling: str) -> np.ndarray:
    """Pixels [E, N² or 3 N²] of the images of an examples file, float32; `pooling` is grayN or rgbN."""
    mode, size = ("L", int(pooling[4:])) if pooling.startswith("gray") else ("RGB", int(pooling[3:]))
    rows = []
    for group in row_groups(examples, ["image"]):
        for content in group["image"]:
            image = decode(content.as_py()).convert(mode).resize((size, size), Image.Resampling.BILINEAR)
            rows.append(np.asarray(image, dtype=np.float32).ravel())
    return np.stack(rows)
