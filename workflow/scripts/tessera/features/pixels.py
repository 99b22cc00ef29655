"""Pixels of images."""

from pathlib import Path

import numpy as np
from PIL import Image

from tessera.base.files import row_groups
from tessera.examples.images import decode


def pixels(examples: Path, unit: str) -> np.ndarray:
    """Pixels [E, N² or 3 N²] of the images of an examples file, float32, resized to N × N; `unit` is grayN or rgbN."""
    mode, size = ("L", int(unit[4:])) if unit.startswith("gray") else ("RGB", int(unit[3:]))
    rows = []
    for group in row_groups(examples, ["image"]):
        for content in group["image"]:
            image = decode(content.as_py()).convert(mode).resize((size, size), Image.Resampling.BILINEAR)
            rows.append(np.asarray(image, dtype=np.float32).ravel())
    return np.stack(rows)
