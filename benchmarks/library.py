"""Imported by every benchmark: makes the library, and what drives a browser in tests, importable from a checkout."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]
