"""Published SAEs: SAELens' directory of releases, read as a file so that a dry run can check ids offline."""

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from tessera.errors import TesseraError


@cache
def directory() -> dict[str, dict]:
    """Every release by name, as SAELens' pretrained_saes.yaml has it (repo_id, model, saes: id, path, l0)."""
    package = find_spec("sae_lens")
    if package is None:
        raise TesseraError("the Python package sae_lens is not installed in this environment")
    file = Path(next(iter(package.submodule_search_locations))) / "pretrained_saes.yaml"
    return yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def find(recipe: dict, layer: str, width: str) -> tuple[str, float | None]:
    """The id in the recipe's release of one layer and width, and its published L0 (None where there is none).

    `{layer}`, `{layer+1}`, `{width}` and `{l0}` in the recipe's id are filled in; `l0` picks among several: a number
    is that very L0, `nearest:70` the one closest to 70.

    Raises:
        TesseraError: names the release or id, and the nearest there are.
    """
    releases = directory()
    if recipe["release"] not in releases:
        close = difflib.get_close_matches(recipe["release"], releases, n=5, cutoff=0.3)
        raise TesseraError(f"there is no release {recipe['release']!r}; the nearest: {', '.join(close) or 'none'}")
    published = {str(entry["id"]): entry.get("l0") for entry in releases[recipe["release"]]["saes"]}
    wanted = recipe["id"].replace("{layer+1}", str(int(layer) + 1)).replace("{layer}", layer).replace("{width}", width)
    if "{l0}" in wanted:
        wanted = _pick_l0(wanted, str(recipe["l0"]), published)
    if wanted not in published:
        close = difflib.get_close_matches(wanted, published, n=5, cutoff=0.3)
        raise TesseraError(
            f"release {recipe['release']!r} has no SAE {wanted!r}; the nearest: {', '.join(close) or 'none'}"
        )
    return wanted, published[wanted] or None


def _pick_l0(wanted: str, l0: str, published: dict[str, float | None]) -> str:
    """`wanted` with {l0} filled in; unchanged but for the number where nothing fits, so that the caller can say so."""
    if not l0.startswith("nearest:"):
        return wanted.replace("{l0}", l0)
    target = float(l0.removeprefix("nearest:"))
    pattern = re.compile(re.escape(wanted).replace(re.escape("{l0}"), r"(\d+(?:\.\d+)?)"))
    fitting = {sae: float(match[1]) for sae in published if (match := pattern.fullmatch(sae))}
    if not fitting:
        return wanted.replace("{l0}", l0.removeprefix("nearest:"))
    return min(fitting, key=lambda sae: (abs(fitting[sae] - target), fitting[sae]))
