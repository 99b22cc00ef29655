"""SAEs of random weights, the control of every match: as wide and as sparse as its two, on their models.

Those of one side are one SAE in the study, DRAWS times as wide with DRAWS times as many active latents: each draw has
its share of the latents. That of side a of the match `apart` is the entry of saes `apart.random-a` (`saes.add_random`
makes it), in a pass of its own after all others, so that another match changes none.
"""

import re
import zlib

import scipy.sparse as sp

from tessera.study.grid import parse_width

DRAWS = 5  # of every control of a match: one draw may be lucky


def width(match: str, cell: dict[str, str], side: str) -> str:
    """The width of the random SAEs that control the SAE `cell` on one side of a match."""
    return f"{DRAWS * parse_width(cell['width'])}_{match}.random-{side}"


def draws(latents_EW: sp.csr_array) -> list[sp.csr_array]:
    """The latents of each draw, of pooled ones of all."""
    size = latents_EW.shape[1] // DRAWS
    return [latents_EW[:, size * draw : size * (draw + 1)] for draw in range(DRAWS)]


def seed(study: int, match: str, side: str) -> int:
    """Its seed: of every match and side another, and of no side the same on both."""
    return zlib.crc32(f"{study} {match} {side}".encode())


def is_random(name: str) -> bool:
    """Is a width, or an entry of saes, one of these?"""
    return re.search(r"\.random-[ab]$", name) is not None


def is_control(one_pass: dict[str, list[str]]) -> bool:
    """Is a pass that of the random SAEs of a match?"""
    return any(is_random(width) for widths in one_pass.values() for width in widths)


def collapse(models: dict[str, dict], saes: dict[str, dict]) -> dict[str, dict]:
    """Both sections as they were before there were random SAEs."""
    passes = {name: [one for one in model["passes"] if not is_control(one)] for name, model in models.items()}
    return {
        "models": {name: {**model, "passes": passes[name]} for name, model in models.items()},
        "saes": {name: entry for name, entry in saes.items() if not is_random(name)},
    }
