"""Rates: whether one request more keeps to `20/s … burst 40`. Pure: it is told the time.

The algorithm is GCRA in its virtual scheduling form (ITU-T I.371, Annex A; ATM Forum TM 4.0 §4.4.2): a bucket is one
time, at which it is empty again. A request that is granted moves that time on by 1/rate, from now or from where it
was, whichever is later; it is granted if the time would then not lie further ahead than burst/rate. Invariant: a
bucket whose time has passed is the same as none.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import NamedTuple

from cachetools import LRUCache

from accel.policy.decision import LimitCheck

OWN_BUCKETS = 65_536
"""Those that one process counts alone: the least lately asked for are forgotten, which grants them a new burst."""
_SKEW_US = 60_000_000
"""Nobody is held up so long between reading the clock and counting: what lies further ahead is from a clock set back.
Were it less, whoever comes with an old reading would free a bucket that others filled since."""


class Pace(NamedTuple):
    """A rate in whole microseconds."""

    interval_us: int
    """Between two requests; rounded up, so that no more than the rate is granted."""
    depth_us: int
    """How far ahead a bucket's time may lie: `burst` intervals."""


@lru_cache(maxsize=1024)
def pace_of(rate: float, burst: int, workers: int = 1) -> Pace:
    """Return one worker's share of a rate; a burst of at least 1, else nothing would ever be granted."""
    interval_us = max(1, ceil(1e6 * workers / rate))
    return Pace(interval_us, interval_us * max(1, ceil(burst / workers)))


def scheduled(due_us: int, now_us: int, pace: Pace) -> tuple[int, bool]:
    """Return a bucket's time after a request, and whether the request is granted (GCRA)."""
    if due_us > now_us + pace.depth_us + _SKEW_US:
        return now_us + pace.depth_us, False  # the clock was set back, or the rule changed: a full bucket
    next_us = max(due_us, now_us) + pace.interval_us
    if next_us > now_us + pace.depth_us:
        return due_us, False
    return next_us, True


def wait_us(due_us: int, now_us: int, pace: Pace) -> int:
    """Return how long from now until a bucket grants a request."""
    return max(0, due_us + pace.interval_us - pace.depth_us - now_us)


class OwnBuckets:
    """Buckets that one process counts, with its share of each rate."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        """Among how many a rate is divided."""
        self._due: LRUCache[tuple[str, bytes], int] = LRUCache(OWN_BUCKETS)

    def admits(self, check: LimitCheck, now_us: int) -> bool:
        """Count a request; whether it is granted."""
        pace, key = pace_of(check.rate, check.burst, self.workers), (check.name, check.value)
        due_us, is_granted = scheduled(self._due.get(key, 0), now_us, pace)
        self._due[key] = due_us
        return is_granted

    def wait_us(self, check: LimitCheck, now_us: int) -> int:
        """Return how long from now until a request would be granted."""
        due_us = self._due.get((check.name, check.value), 0)
        return wait_us(due_us, now_us, pace_of(check.rate, check.burst, self.workers))
