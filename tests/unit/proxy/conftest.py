"""A fill needs an origin and a cache: the stage of the wire tests has both."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "wire"))
