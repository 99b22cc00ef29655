"""Digests: of files, and of configs."""

import hashlib
import json
from pathlib import Path


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def config_sha256(config: dict) -> str:
    """The hash of a config as it was given, whatever the order of its keys."""
    plain = json.loads(json.dumps(config))  # layers as keys are numbers or strings
    return f"sha256:{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}"
