"""Images of a data set: encoded in a column, in files that a column names, or pixel by pixel in columns."""

import hashlib
import io
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageOps

from tessera.base.errors import TesseraError, shorten
from tessera.base.files import resolve
from tessera.examples.checks import no_row

READ = "png, jpeg and what else Pillow reads, 8 bits a channel"
DEEP = ("I", "F")  # modes of more bits a channel


def image_column(key: str, raw: pl.DataFrame, spec: dict) -> pl.Series:
    """The images of `raw` as they stand there: encoded (binary), paths (strings), or rows of gray pixels (binary).

    Nothing is decoded.

    Raises:
        TesseraError: names the config key, the row and what is wrong.
    """
    if "pixels" in spec:
        return _pixel_column(key, raw, spec)
    column = raw[spec["image"]]
    if column.dtype == pl.Struct:  # of the hub's datasets: bytes, or path where they are null
        fields = column.struct.unnest()
        if "bytes" not in fields.columns:
            raise TesseraError(f"config key {key}.image: column {spec['image']!r} holds {column.dtype}, without bytes")
        column = fields["bytes"] if not fields["bytes"].is_null().all() else fields["path"]
    if column.dtype not in (pl.Binary, pl.String):
        raise TesseraError(
            f"config key {key}.image: column {spec['image']!r} holds {column.dtype}; allowed: encoded images, or paths"
        )
    no_row(key, "image", "no image", column.is_null())
    if column.dtype == pl.String:
        folder = resolve(spec["path"]).parent if "path" in spec else Path()
        column = pl.Series("image", [str(folder / path) for path in column])
        gone = pl.Series([not Path(path).is_file() for path in column])
        no_row(key, "image", "an image file that is not there", gone, column)
    return column.rename("image")


def _pixel_column(key: str, raw: pl.DataFrame, spec: dict) -> pl.Series:
    """Every column that has no other role is a gray pixel, row by row of the image; as bytes, 255 the maximum."""
    roles = [spec[role] for role in ("label", "id", "group", "split") if role in spec]
    pixels = raw.drop([*roles, *spec.get("where", {})], strict=False)
    height, width, maximum = (spec["pixels"][part] for part in ("height", "width", "maximum"))
    if pixels.width != height * width:
        raise TesseraError(
            f"config key {key}.pixels: {height} × {width} are {height * width} columns, but there are {pixels.width} "
            f"beside {', '.join(roles)}: {shorten(pixels.columns)}"
        )
    values_EP = pixels.select(pl.all().cast(pl.Float32, strict=False)).to_numpy()
    bad = ~((values_EP >= 0) & (values_EP <= maximum)).all(axis=1)
    no_row(key, "pixels", f"a pixel that is no number from 0 to {maximum}", pl.Series(bad))
    bytes_EP = np.rint(values_EP * (255 / maximum)).astype(np.uint8)
    return pl.Series("image", [row.tobytes() for row in bytes_EP], dtype=pl.Binary)


def names(image: pl.Series) -> pl.Series:
    """A name per image that is had without decoding it: equal names are equal images."""
    if image.dtype == pl.String:
        return image
    return pl.Series([hashlib.blake2b(content, digest_size=16).hexdigest() for content in image], dtype=pl.String)


def encoded(key: str, frame: pl.DataFrame, spec: dict) -> tuple[pl.Series, pl.Series]:
    """The images of `frame` as bytes, and the digests of their pixels.

    Args:
        frame: columns place (row of the data set) and image (see `image_column`).

    Raises:
        TesseraError: names the first row of an image that cannot be decoded, and how many there are.
    """
    found, digests, broken = [], [], []
    for row, image in frame.select("place", "image").iter_rows():
        try:
            content = Path(image).read_bytes() if isinstance(image, str) else image
            if "pixels" in spec:
                content = _png(content, spec["pixels"]["width"])
            pixels = decode(content)
        except TesseraError as error:
            broken.append((row, str(error)))
            continue
        digest = hashlib.blake2b(repr(pixels.size).encode() + pixels.tobytes(), digest_size=16)
        found.append(content)
        digests.append(digest.hexdigest())
    if broken:
        row, reason = broken[0]
        raise TesseraError(f"config key {key}.image: row {row} has {reason} ({len(broken)} such rows)")
    return pl.Series("image", found, dtype=pl.Binary), pl.Series("text", digests, dtype=pl.String)


def _png(gray: bytes, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(gray, dtype=np.uint8).reshape(-1, width)).save(buffer, "png")
    return buffer.getvalue()


def decode(content: bytes) -> Image.Image:
    """An encoded image as RGB, upright; the first frame of several.

    Raises:
        TesseraError: it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(DEEP):
                raise ValueError(f"mode {image.mode}")
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "no known format" if isinstance(error, Image.UnidentifiedImageError) else str(error).splitlines()[0]
        raise TesseraError(f"an image that cannot be read: {reason}; allowed: {READ}") from error
