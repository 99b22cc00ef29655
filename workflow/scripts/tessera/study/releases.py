"""Published SAEs: SAELens' directory of releases, read as a file so that a dry run can check ids offline."""

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from tessera.base.errors import TesseraError


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

    `{layer}`, `{width}` and `{l0}` in the recipe's id are filled in; `l0` says how `{l0}` is: `canonical` as in the
    release of the same name with -canonical, `nearest:70` so that the published L0 is the closest to 70, anything else
    as it stands.

    Raises:
        TesseraError: names the release or id, and the nearest there are.
    """
    published = _published(recipe["release"])
    wanted = recipe["id"].replace("{layer}", layer).replace("{width}", width)
    if "{l0}" in wanted:
        wanted = _pick_l0(wanted, recipe, published)
    if wanted not in published:
        close = difflib.get_close_matches(wanted, published, n=5, cutoff=0.3)
        raise TesseraError(
            f"release {recipe['release']!r} has no SAE {wanted!r}; the nearest: {', '.join(close) or 'none'}"
        )
    return wanted, published[wanted].get("l0") or None


def _published(release: str) -> dict[str, dict]:
    """The SAEs of a release by id."""
    releases = directory()
    if release not in releases:
        close = difflib.get_close_matches(release, releases, n=5, cutoff=0.3)
        raise TesseraError(f"there is no release {release!r}; the nearest: {', '.join(close) or 'none'}")
    return {str(entry["id"]): entry for entry in releases[release]["saes"]}


def _pick_l0(wanted: str, recipe: dict, published: dict[str, dict]) -> str:
    """`wanted` with {l0} filled in."""
    before, after = wanted.split("{l0}", 1)
    pattern = re.compile(re.escape(before) + "([A-Za-z0-9.]+)" + re.escape(after))
    fitting = {sae: match[1] for sae in published if (match := pattern.fullmatch(sae))}
    l0 = str(recipe["l0"])
    nothing_fits = wanted.replace("{l0}", l0.removeprefix("nearest:"))  # the caller names the nearest ids
    if not fitting:
        return nothing_fits
    if l0 == "canonical":
        companion = f"{recipe['release']}-canonical"
        paths = {entry["path"] for entry in _published(companion).values()} if companion in directory() else set()
        picked = [sae for sae in fitting if published[sae].get("path", sae) in paths]
        if len(picked) == 1:
            return picked[0]
        raise TesseraError(
            f"release {recipe['release']!r} has no canonical SAE {wanted!r}; say l0: nearest:<number> or one of "
            f"{', '.join(fitting.values())}"
        )
    if not l0.startswith("nearest:"):
        return wanted.replace("{l0}", l0)
    target = float(l0.removeprefix("nearest:"))
    known = {sae: published[sae]["l0"] for sae in fitting if published[sae].get("l0")}
    if not known:
        return nothing_fits
    return min(known, key=lambda sae: (abs(known[sae] - target), known[sae]))
