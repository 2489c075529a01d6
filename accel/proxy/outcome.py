"""How an exchange was answered: the one word that the counters, the log and an operator share."""

from __future__ import annotations

from enum import Enum

from accel.stats.counters import index
from accel.stats.histograms import KINDS

_HISTOGRAMS = {"hits": KINDS.index("hit"), "misses": KINDS.index("miss"), "passes": KINDS.index("pass")}


class Outcome(Enum):
    """One for each request; `counter` is its word in the worker's row."""

    HIT = ("hit", "hits")
    """Answered from the store while fresh."""
    STALE = ("stale", "hits")
    """Answered from the store though stale: refreshed behind, or the origin failed."""
    MISS = ("miss", "misses")
    """Fetched, alone or with others, because nothing usable was stored."""
    PASS = ("pass", "passes")
    """Forwarded because the rules or the method said so."""
    SYNTHETIC = ("synthetic", "synthetic")
    """Answered by a rule."""
    ERROR = ("error", "errors")
    """Answered by accel because something was wrong."""

    def __init__(self, word: str, counter: str) -> None:
        self.word = word
        self.counter = index(counter)
        self.histogram = _HISTOGRAMS.get(counter)
        """Its place in `histograms.KINDS`; None: it is not measured."""
