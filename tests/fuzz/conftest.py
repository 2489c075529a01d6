"""The fuzz plays on the stage of the wire tests, and of the language's."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / place) for place in ("wire", "unit/policy", "unit/origin")]
COMPILED = [
    "test_hot_against_general.py",
    "test_hot_in_a_crowded_store.py",
    "test_relays_against_general.py",
    "test_relays_in_the_middle.py",
]
collect_ignore = [] if find_spec("accel.proxy._hot") else COMPILED
