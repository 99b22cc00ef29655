"""What the header of a GGUF file says of its model, read without torch and no further than it must be.

Every job parses the config again, and the gguf package takes seconds for this.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tessera.base.errors import TesseraError, shorten

VERSIONS = (2, 3)
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
LONGEST = 2**16  # bytes of a name
MOST_KEYS, MOST_STRINGS = 2**16, 2**22  # of a header, of an array: real ones have dozens, and 2**18
ARCHITECTURE = "general.architecture"
WANTED = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings"}


def is_gguf(path: str | Path) -> bool:
    """Does a path name a GGUF file?"""
    return str(path).endswith(".gguf")


def read_gguf(key: str, file: Path) -> dict[str, int]:
    """Of a transformers config.json what planning needs, from the GGUF file that the config's `key` names.

    Raises:
        TesseraError: there is no such file, it is damaged, or it says nothing of a language model.
    """
    if not file.is_file():
        raise TesseraError(f"config key {key}: there is no file {str(file)!r}")
    try:
        with file.open("rb") as content:
            config = _find(_entries(_Header(content, file.stat().st_size)))
        if not all(type(number) is int and number > 0 for number in config.values()):
            raise ValueError(f"its header says {shorten(config)}")
    except (OSError, ValueError) as error:
        raise TesseraError(f"config key {key}: {str(file)!r} cannot be read as GGUF: {error}") from error
    return config


def _find(entries: Iterator[tuple[str, object]]) -> dict[str, object]:
    """What is wanted of a header, whose other entries are read until all of it is there."""
    found: dict[str, object] = {}
    names = {ARCHITECTURE: ""}
    for name, value in entries:
        found[name] = value
        if name == ARCHITECTURE:
            names = {f"{value}.{suffix}": key for suffix, key in WANTED.items()}
        if found.keys() >= names.keys():
            return {key: found[name] for name, key in names.items()}
    raise ValueError(f"its header lacks {' and '.join(name for name in names if name not in found)}")


class _Header:
    """Reads on in a file, and never behind its end."""

    def __init__(self, content: BinaryIO, size: int):
        self.content, self.left = content, size

    def _spend(self, length: int) -> None:
        if length > self.left:
            raise ValueError("it is cut off, or damaged")
        self.left -= length

    def skip(self, length: int) -> None:
        self._spend(length)
        self.content.seek(length, 1)

    def number(self, layout: str) -> int | float | bool:
        self._spend(struct.calcsize(layout))
        return struct.unpack(layout, self.content.read(struct.calcsize(layout)))[0]

    def count(self, most: int) -> int:
        if (number := self.number("<Q")) > most:
            raise ValueError(f"it is damaged: {number} of what are {most} at most")
        return number

    def text(self) -> str:
        length = self.count(LONGEST)
        self._spend(length)
        return self.content.read(length).decode()


def _entries(header: _Header) -> Iterator[tuple[str, object]]:
    """Names and values of a header, one at a time; of strings only the architecture's name, of arrays none."""
    magic, version = header.number("<I"), header.number("<I")
    if magic != int.from_bytes(b"GGUF", "little"):
        raise ValueError("it does not begin as one")
    if version not in VERSIONS:
        raise ValueError(f"version {version}; allowed: {', '.join(map(str, VERSIONS))}")
    header.skip(8)  # the number of tensors
    for _ in range(header.count(MOST_KEYS)):
        name, kind = header.text(), header.number("<I")
        if name == ARCHITECTURE and kind == STRING:
            yield name, header.text()
        elif kind == STRING:
            header.skip(header.number("<Q"))
        elif kind == ARRAY:
            _skip_array(header)
        else:
            yield name, header.number(_layout(kind))


def _skip_array(header: _Header) -> None:
    kind = header.number("<I")
    if kind == STRING:
        for _ in range(header.count(MOST_STRINGS)):
            header.skip(header.number("<Q"))
    else:
        header.skip(struct.calcsize(_layout(kind)) * header.number("<Q"))


def _layout(kind: int) -> str:
    if kind not in NUMBERS:
        raise ValueError(f"it is damaged: a value of type {kind}")
    return NUMBERS[kind]
