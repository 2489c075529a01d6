"""A body that another worker fetches, read here as it comes.

Owns the follower's side of `proxy.showing`. A `Join` is what a `fill.Fill` is to those who answer from it, with bytes
that come from shared memory and not from an origin: all requests of this worker for the same share one, and a client
reads at its own pace, since nothing of it is held here but pins. Invariant: what is read is one response from its
first byte to its last, compared at every step with what it began with.

How the wait for another worker's fetch ends:

- a `Join`: it is under way and fits (or has ended, and what it showed is whole); answer from it.
- ENDED: look what is in the store now.
- UNFIT: what comes is another variant, or was purged since: do not wait for it, and do not lead in its place either.
- LATE: nothing is known of what comes, and waiting does not pay any more (`proxy.patience`).

Who had a part of a body whose leader failed or died is cut, as those are who read in the leader's own worker.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from accel.caching.stored import Incomplete, decode
from accel.errors import ResponseTruncated
from accel.http.message import Request
from accel.proxy.asking import Asking
from accel.proxy.cache import Entry, Found
from accel.proxy.fill import Ending, Fill
from accel.proxy.patience import wait_until
from accel.proxy.streaming import SharedBody
from accel.stats.counters import index
from accel.store.store import Record

if TYPE_CHECKING:
    from accel.origin.fetch import OriginResponse
    from accel.proxy.service import Claim, Service

_CUT = index("joined_cut")


class Unjoined(Enum):
    """Why there is nothing to read as it comes."""

    ENDED = "the fetch has ended"
    UNFIT = "the fetch is of something else"
    LATE = "waiting does not pay any more"


class Join:
    """Another worker's fetch, for all requests of this worker that want what it brings."""

    def __init__(self, service: Service, key: bytes, claim: Claim, step: int, record: Record) -> None:
        """`key` is what the claim is for, `step` the claim's when `record`, of what came so far, was looked for."""
        incomplete = decode(record.meta)
        assert isinstance(incomplete, Incomplete)
        self._service, self._flight, self._claim, self._step = service, key, claim, step
        self._meta = record.meta
        self.key, self.length, self.number = incomplete.key, incomplete.length, incomplete.stored.number
        self.entry = Entry(incomplete.stored, incomplete.length)
        self.record: Record | None = None
        self.has_head = self.is_shared = True
        self.is_passed = False
        self.status: int | None = incomplete.stored.status
        self.backend = ""
        self.error = ResponseTruncated("the fetch of another worker ended early")
        self.body = SharedBody(service.limits.window_bytes)
        self.body.keep(record)

    @property
    def is_whole(self) -> bool:
        """Whether the last byte is there."""
        return self.body.length == self.length

    def fits(self, request: Request) -> bool:
        """Whether what comes is the response for `request`, as far as is known, and was not purged since."""
        cache = self._service.cache
        found = cache.find(request, self._service.now())
        if found.key != self.key or not cache.may_join(found.primary, self.number):
            return False
        return cache.may_serve(found.primary, self.entry)

    def start(self) -> None:
        """Follow, for others of this worker too."""
        self._service.flights.add(self._flight, self)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def head(self) -> Ending:
        """As `Fill.head`: it is there."""
        return Ending.STREAMING

    def claim(self, claimant: object) -> OriginResponse | None:
        """As `Fill.claim`: nobody here leads."""
        return None

    def release(self, claimant: object) -> None:
        """As `Fill.release`; the last who goes ends it here."""
        if not self.body.reader_count:
            self._leave()
            self._task.cancel()

    async def _follow(self) -> None:
        goes_on = True
        try:
            while goes_on and not self.is_whole:
                goes_on = await self._claim.changed(self._step)
                self._step = self._claim.follow()
                self._look()
            self._end()
        finally:
            self._leave()
            self.body.fail(self.error)  # of no effect unless a defect or a cancellation left its readers waiting

    def _leave(self) -> None:
        """Nobody joins any more; each reader lets go of what it has read."""
        self._service.flights.remove(self._flight, self)
        self.body.stop_retaining()

    def _look(self) -> None:
        record = self._service.cache.under_way(self._claim.name)
        if record is not None and record.length > self.body.length and record.meta == self._meta:
            self.body.keep(record)

    def _end(self) -> None:
        if self.is_whole:
            self.body.end()
            return
        self._service.counters[_CUT] += self.body.reader_count
        self.body.fail(self.error)


async def joined(
    service: Service, asking: Asking, found: Found, claim: Claim, until: float | None
) -> Join | Fill | Unjoined:
    """Wait for another worker's fetch until there is something to read, or it has ended; see the module's top.

    Once its head shows that it will be stored, that is worth any wait; before, `until` then (None: any), and longer
    only if a fetch of its own would have to queue before full backends.
    """
    goes_on = True
    while True:
        step = claim.follow()
        local = service.flights.find(service, found)
        if local is not None:
            return local
        record = service.cache.under_way(claim.name)
        if record is not None:
            join = Join(service, found.key, claim, step, record)
            if not join.fits(asking.asked):
                return Unjoined.UNFIT
            if join.is_whole or (goes_on and record.length):
                join.start()
                return join
        if not goes_on:
            return Unjoined.ENDED
        if record is not None:
            until = None
        if not await wait_until(until, claim.changed(step)):
            if service.origin(asking.pool).reserve():
                return Unjoined.LATE
            until = None
        goes_on = claim.stands
