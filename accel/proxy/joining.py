"""A body that another worker fetches, read here as it comes.

Owns the follower's side of `proxy.showing`. A `Join` is what a `fill.Fill` is to those who answer from it, with bytes
that come from shared memory and not from an origin: all requests of this worker for the same share one, and a client
reads at its own pace, since nothing of it is held here but pins. Invariant: what is read is one representation from its
first byte to its last, compared at every step with what it began with.

How the wait for another worker's fetch ends:

- a `Join`: it is under way and fits (or has ended, and what it showed is whole); answer from it.
- ENDED: look what is in the store now.
- UNFIT: what comes is another variant, or was purged since: do not wait for it, and do not lead in its place either.
- LATE: nothing is known of what comes, and waiting does not pay any more (`proxy.patience`).

A kill -9 is to cost the exchanges of the killed process alone. So who had a part of a body whose leader died, or
failed, goes on from a second one, which is asked for as by any request: it is in the store by now, or somebody leads
its fetch, or we do. The readers move over there, each to the byte where it is (`SharedBody.hand_over`), once its head
shows the same representation: a strong entity tag says so and nothing else does (`validation.may_complete`). What if:

- all workers that read along come at once: the claim makes one of them lead, the others join that fetch.
- the second fetch fails too, or its leader dies: they are cut. A `Join` resumes once, and not at all if it has taken
  over readers: a response that kills who fetches it kills two workers, not all.
- it brings something else, or cannot be stored: they are cut. The fetch goes on, as any without a client does.
- an invalidation came since the first began: they are cut; what the origin says now is another matter.
- all readers leave: before the head, this ends here and a fetch of ours goes on; after it, see `release`.

Who reads in the leader's own worker is cut when its origin fails, as a client of that origin would be.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from accel.caching.stored import Incomplete, decode
from accel.caching.validation import may_complete
from accel.errors import ResponseTruncated
from accel.http.message import Request
from accel.proxy.asking import Asking
from accel.proxy.contents import Entry, Found
from accel.proxy.fill import Ending, Fill, shared_fill
from accel.proxy.patience import wait_until
from accel.proxy.streaming import SharedBody
from accel.stats.counters import index
from accel.store.store import Record

if TYPE_CHECKING:
    from accel.origin.fetch import OriginResponse
    from accel.proxy.service import Claim, Service

_CUT, _RESUMED = index("joined_cut"), index("joined_resumed")


class Unjoined(Enum):
    """Why there is nothing to read as it comes."""

    ENDED = "the fetch has ended"
    UNFIT = "the fetch is of something else"
    LATE = "waiting does not pay any more"


class Join:
    """Another worker's fetch, for all requests of this worker that want what it brings."""

    def __init__(self, service: Service, asking: Asking, key: bytes, claim: Claim, step: int, record: Record) -> None:
        """`asking` is whoever came first, and asks again if it must; `key` is what the claim is for.

        `step` is the claim's when `record`, of what came so far, was looked for.
        """
        incomplete = decode(record.meta)
        assert isinstance(incomplete, Incomplete)
        self._service, self._asking, self._flight, self._claim, self._step = service, asking, key, claim, step
        self._meta = record.meta
        self.key, self.length, self.number = incomplete.key, incomplete.length, incomplete.stored.number
        self.entry = Entry(incomplete.stored, incomplete.length)
        self.record: Record | None = None
        self.has_head = self.is_shared = True
        self.is_passed = False
        self.status: int | None = incomplete.stored.status
        self.backend = ""
        self.retries = 0
        self.error = ResponseTruncated("the fetch of another worker ended early")
        self.body = SharedBody(service.limits.window_bytes)
        self.body.keep(record)
        self.may_resume = True
        """Whether its readers have not been through this before."""
        self._successor: Fill | Join | None = None
        """Where its readers are now."""

    @property
    def request(self) -> Request:
        """What whoever came first asked for."""
        return self._asking.asked

    @property
    def is_whole(self) -> bool:
        """Whether the last byte is there."""
        return self.body.length == self.length

    def fits(self, request: Request) -> bool:
        """Whether what comes is the response for `request`, as far as is known, and was not purged since."""
        return self._is_place(self._service.cache.find(request, self._service.now()))

    def _is_place(self, found: Found) -> bool:
        """Whether what comes belongs to where a request looked, and was not purged since."""
        cache = self._service.cache
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
        """As `Fill.release`; the last who goes ends it here, and there if they moved."""
        if self._successor is not None:
            self._successor.release(claimant)
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
            await self._end()
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

    async def _end(self) -> None:
        self._leave()
        if self.is_whole:
            self.body.end()
        elif not await self._resume():
            self._service.counters[_CUT] += self.body.reader_count
            self.body.fail(self.error)

    # The second fetch.

    async def _resume(self) -> bool:
        """Let the readers go on with another fetch of the same representation; False: they are to be cut."""
        stored = self.entry.stored
        if not self.may_resume or not self.body.reader_count or not may_complete(stored, stored):
            return False
        source = await self._find_source()
        if isinstance(source, Fill):
            await source.head()
        if source is None or not self._is_completed_by(source):
            if isinstance(source, Join):
                source.release(self)  # it may have been made for us
            return False
        self._service.counters[_RESUMED] += self.body.reader_count
        if source.record is not None:
            self.body.keep(source.record)
            self.body.end()
        elif not isinstance(source, Found):
            self._move_to(source)
        return True

    def _is_completed_by(self, source: Fill | Join | Found) -> bool:
        """Whether the rest may be taken from there."""
        if source.entry is None or source.key != self.key:
            return False
        if source.record is not None:
            length: int | None = source.record.length
        elif isinstance(source, Found) or not source.body.is_whole_so_far:
            return False
        else:
            length = source.length
        return length == self.length and may_complete(self.entry.stored, source.entry.stored)

    def _move_to(self, flight: Fill | Join) -> None:
        if isinstance(flight, Join):
            flight.may_resume = False
        self._successor = flight
        self.body.hand_over(flight.body)

    async def _find_source(self) -> Fill | Join | Found | None:
        """Return what the rest may come from: a fetch, which is ours if nobody else's is under way, or what is stored.

        It is not known yet that it brings the same; None: it does not.
        """
        service = self._service
        found = self._look_again()
        if found is None or self._is_settled(found):
            return found
        flight = service.flights.find(service, found)
        if flight is not None:
            return flight
        claim = service.claim(found.key)
        if claim is None or claim.leads:
            return self._begin(claim)
        joint = await joined(service, self._asking, found, claim, None)
        if not isinstance(joint, Unjoined):
            return joint
        return self._look_again() if joint is Unjoined.ENDED else None

    def _look_again(self) -> Found | None:
        """Return what is stored now; None if nothing that could be there, or be fetched, is what began here."""
        found = self._service.cache.find(self._asking.asked, self._service.now())
        return found if self._is_place(found) and not found.is_marked else None

    def _is_settled(self, found: Found) -> bool:
        """Whether what is stored completes this, or came later; what is older the first fetch was to renew."""
        if found.entry is None:
            return False
        is_newer = found.entry.stored.response_at > self.entry.stored.response_at
        return is_newer or self._is_completed_by(found)

    def _begin(self, claim: Claim | None) -> Fill | Found | None:
        """Fetch for the readers, unless what they need was stored before the claim was ours."""
        fill = None
        try:
            found = self._look_again()
            if found is None or self._is_settled(found):
                return found
            fill = shared_fill(self._service, self._asking, found, None)
            self._service.flights.begin(found, fill, claim)
            return fill
        finally:
            if fill is None and claim is not None:
                claim.release()


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
            join = Join(service, asking, found.key, claim, step, record)
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
