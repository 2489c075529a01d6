"""The fuzz plays on the stage of the wire tests, and of the language's."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "wire"), str(TESTS / "unit" / "policy")]
