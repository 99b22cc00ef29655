"""SAEs of random weights, the control of every match: as wide and as sparse as its two, on their models.

Draw k for side a of the match `apart` is the entry of saes `apart.random-ka` (`saes.add_random` makes it). Those of a
match stand in a pass of their own, after all others, so that another match changes none.
"""

import re
import zlib

from tessera.study.grid import split_width

DRAWS = 5  # of every control of a match: one draw may be lucky


def width(match: str, cell: dict[str, str], side: str, draw: int) -> str:
    """The width of a draw that controls the SAE `cell` on one side of a match."""
    return f"{split_width(cell['width'])[0]}_{match}.random-{draw}{side}"


def seed(study: int, match: str, draw: int, side: str) -> int:
    """Its seed: of every match and draw another, and of no side the same on both."""
    return zlib.crc32(f"{study} {match} {draw} {side}".encode())


def is_random(name: str) -> bool:
    """Is a width, or an entry of saes, one of these?"""
    return re.search(r"\.random-[0-9]+[ab]$", name) is not None


def is_control(one_pass: dict[str, list[str]]) -> bool:
    """Is a pass that of the random SAEs?"""
    return any(is_random(width) for widths in one_pass.values() for width in widths)


def collapse(models: dict[str, dict], saes: dict[str, dict]) -> dict[str, dict]:
    """Both sections as they were before there were random SAEs."""
    passes = {name: [one for one in model["passes"] if not is_control(one)] for name, model in models.items()}
    return {
        "models": {name: {**model, "passes": passes[name]} for name, model in models.items()},
        "saes": {name: entry for name, entry in saes.items() if not is_random(name)},
    }
