"""What one configuration gives to the exchanges that begin under it.

A reload makes a new `Service` over the same cache, counters and invalidation numbers; exchanges under way keep the
old one until they end. Owns nothing that lives longer than a configuration except by reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from accel.caching.invalidation import Purge
from accel.config import CachingOptions, Limits
from accel.origin.fetch import Origin
from accel.policy.decision import Override
from accel.policy.sites import Sites
from accel.proxy.cache import Cache
from accel.proxy.flights import Flights
from accel.proxy.limiter import Limiter
from accel.proxy.refreshing import Refreshing
from accel.stats.counters import CounterRow
from accel.stats.histograms import HistogramWords
from accel.stats.ring import Writer

if TYPE_CHECKING:
    from accel.proxy.hot import Hot
    from accel.proxy.relay import Relays


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an invalidation did, over all workers."""

    count: int
    """Stored responses freed; of a soft one, made stale."""
    workers: int
    answered: int
    """Workers that answered; the others already serve nothing that it covers."""
    is_counting: bool = False
    """Whether the count was still under way when it was given: it will be larger."""

    def facts(self, purge: Purge, took_s: float) -> dict[str, object]:
        """Return what the one who purged is told, as JSON values."""
        facts: dict[str, object] = {
            "what": purge.what.value,
            "names": purge.words(),
            "touched" if purge.is_soft else "dropped": self.count,
            "workers": self.workers,
            "answered": self.answered,
            "ms": round(took_s * 1000, 3),
        }
        return facts | {"counting": "still under way"} if self.is_counting else facts


class Claim(Protocol):
    """The fetch of one key over all workers."""

    leads: bool
    """Whether this worker fetches; then it must `release`."""
    is_followed: bool
    """Whether anybody was woken by a step or the end; known after `release`."""

    @property
    def name(self) -> bytes:
        """What leader and followers call it, and nobody else calls anything."""
        ...

    def step(self) -> None:
        """There is more to see of what comes: everybody looks again. The leader's alone."""
        ...

    @property
    def stands(self) -> bool:
        """Whether the fetch goes on."""
        ...

    def release(self) -> None:
        """What came is stored, or is known not to come: everybody looks again. Idempotent."""
        ...

    def follow(self) -> int:
        """Ask to be woken; return the step that the leader is at. To be called before looking at what it shows."""
        ...

    async def changed(self, step: int) -> bool:
        """Return when another's fetch has got on from `step`, or has ended in whatever way: whether it goes on."""
        ...


class Coalescer(Protocol):
    """Makes one fetch a key out of all workers' misses."""

    def claim(self, key: bytes) -> Claim | None:
        """Lead the fetch of `key` or follow who does; None if each is on its own."""
        ...


class Invalidator(Protocol):
    """Takes invalidation numbers for the whole machine."""

    async def invalidate(self, purge: Purge, counted: bool) -> Receipt:
        """Return when no worker serves what is purged; `counted` waits a while for what was freed.

        Raises ValueError for a ban that cannot be read; RequestError when it could not be done.
        """
        ...


class OverrideUses(Protocol):
    """Counts what passed the safety floor, by the rule that let it and its reason."""

    def used(self, override: Override) -> None:
        """A response is stored that could not have been without this."""
        ...


@dataclass(slots=True)
class Service:
    """Everything that an exchange needs beside its connection."""

    policies: Sites
    cache: Cache
    origins: Mapping[str, Origin]
    """By pool; "" is the command line's, or the first that a policy names."""
    flights: Flights
    refreshing: Refreshing
    invalidator: Invalidator
    coalescer: Coalescer | None
    """None where each worker has a store of its own."""
    limiter: Limiter
    counters: CounterRow
    histograms: HistogramWords
    overrides: OverrideUses
    limits: Limits
    caching: CachingOptions
    log: Writer | None
    """The worker's ring; None: nothing is logged."""
    now: Callable[[], float]
    """Wall time, s."""
    hot: Hot | None = None
    """What was decided before; None where the compiled part is missing, or each worker has a store of its own."""
    relays: Relays | None = None
    """Which forwards were decided before; None where `hot` is."""

    def origin(self, pool: str) -> Origin:
        """Return a pool; the default one for a name that a reload took away."""
        return self.origins.get(pool) or self.origins[""]

    def claim(self, key: bytes) -> Claim | None:
        """Lead or follow the machine's fetch of `key`; None if each worker is on its own."""
        return None if self.coalescer is None else self.coalescer.claim(key)
