"""The fuzz plays on the stage of the wire tests, and of the language's."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "wire"), str(TESTS / "unit" / "policy")]
collect_ignore = [] if find_spec("accel.proxy._hot") else ["test_hot_against_general.py"]
