"""What tests ask of a machine beyond what is in requirements.txt."""

import os
from typing import NoReturn

import pytest


def lacks(reason: str) -> NoReturn:
    """Skip the test; where CI=true, nothing may be lacking, and it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and a test cannot run: {reason}")
    pytest.skip(reason)
