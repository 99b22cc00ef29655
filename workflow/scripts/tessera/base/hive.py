"""Hive-style paths, whose folders are `key=value`: read the keys off them, pick files by them."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def keys(path: str) -> dict[str, str]:
    """The keys of a file or folder of a stage: those of the folders right above it (and of its own name).

    What stands in front of the stage, such as the prefix of an object storage, may hold an equals sign too.
    """
    parts = str(path).split("/")
    if "=" not in parts[-1]:
        parts.pop()
    found: list[tuple[str, str]] = []
    while parts and "=" in parts[-1]:
        key, _, value = parts.pop().partition("=")
        found.append((key, value))
    return dict(reversed(found))


def at(files: Iterable[str], **place: str) -> list[str]:
    """Those of `files` whose keys have the values of `place`."""
    return [file for file in files if place.items() <= keys(file).items()]


def one(files: Iterable[str], **place: str) -> str:
    """The one of `files` at `place`.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = at(files, **place)
    if len(found) != 1:
        raise ValueError(f"{len(found)} files at {place}, not one")
    return found[0]


def part(files: Iterable[str], name: str) -> str:
    """The first of `files` whose own name, without its ending, is `name`."""
    return next(file for file in files if Path(file).stem == name)


def by(files: Iterable[str], *axes: str) -> dict[tuple[str, ...], list[str]]:
    """The files at each place: values of `axes` → files, in the order given."""
    found = defaultdict(list)
    for file in files:
        place = keys(file)
        found[tuple(place[axis] for axis in axes)].append(file)
    return dict(found)
