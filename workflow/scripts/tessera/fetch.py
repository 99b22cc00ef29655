"""Fetch a published SAE with SAELens, which knows every release's format.

One of the two modules that import sae_lens (4-6 s, 490 MiB); see also train.py.
"""

from pathlib import Path

from sae_lens import SAE

from tessera.errors import TesseraError


def fetch(release: str, sae_id: str, folder: Path) -> None:
    """Save the SAE `sae_id` of `release` to `folder`; norm factors that a release declares are folded in.

    Raises:
        TesseraError: it can be had neither from the hub nor from its cache.
    """
    try:
        SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32").save_model(folder)
    except Exception as error:  # every release has a loader of its own, and each fails in its own way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TesseraError(f"SAE {sae_id!r} of release {release!r} cannot be loaded: {reason}") from error
