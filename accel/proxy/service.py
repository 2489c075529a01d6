"""What one configuration gives to the exchanges that begin under it.

A reload makes a new `Service` over the same cache, counters and invalidation numbers; exchanges under way keep the
old one until they end. Owns nothing that lives longer than a configuration except by reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from accel.config import CachingOptions, Limits
from accel.origin.fetch import Origin
from accel.policy.verdict import Policy
from accel.proxy.cache import Cache
from accel.proxy.fill import Flights
from accel.stats.access_log import AccessLog
from accel.stats.counters import CounterRow


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an invalidation did, over all workers."""

    dropped: int
    """Stored responses freed."""
    workers: int
    answered: int
    """Workers that said what they freed; the others already serve nothing that it covers."""


class Invalidator(Protocol):
    """Takes invalidation numbers for the whole machine."""

    async def invalidate(self, keys: tuple[bytes, ...], counted: bool) -> Receipt:
        """Return when no worker serves what `keys` (primary ones) covered; `counted` waits for what was freed."""
        ...


@dataclass(slots=True)
class Service:
    """Everything that an exchange needs beside its connection."""

    policy: Policy
    cache: Cache
    origin: Origin
    flights: Flights
    invalidator: Invalidator
    counters: CounterRow
    limits: Limits
    caching: CachingOptions
    log: AccessLog | None
    now: Callable[[], float]
    """Wall time, s."""
