"""Imported by every benchmark: makes the library importable from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))
