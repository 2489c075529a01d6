"""Another worker's fetch of a long body, as those of this worker see it who answer from it while it comes.

A `Join` is what a `fill.Fill` is to them, with bytes that come from shared memory and not from an origin: all requests
of this worker for the same share one, and a client reads at its own pace, since nothing of it is held here but pins.
Owns the follower's side of `proxy.showing`; when a fetch is followed, and what becomes of its readers if it fails, is
`proxy.joining`. Invariant: what is read is one representation from its first byte to its last, compared at every step
with what it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from accel.caching.stored import Incomplete, decode
from accel.errors import ResponseTruncated
from accel.http.message import Request
from accel.proxy.asking import Asking
from accel.proxy.contents import Entry
from accel.proxy.fill import Ending, Fill
from accel.proxy.showing import is_resumable
from accel.proxy.streaming import SharedBody
from accel.stats.counters import index
from accel.store.store import Record

if TYPE_CHECKING:
    from accel.origin.fetch import OriginResponse
    from accel.proxy.service import Claim, Service

_CUT, _RESUMED = index("joined_cut"), index("joined_resumed")


class Join:
    """Another worker's fetch, for all requests of this worker that want what it brings."""

    def __init__(self, service: Service, asking: Asking, key: bytes, claim: Claim, step: int, record: Record) -> None:
        """`asking` is whoever came first, and asks again if it must; `key` is what the claim is for.

        `step` is the claim's when `record`, of what came so far, was looked for.
        """
        incomplete = decode(record.meta)
        assert isinstance(incomplete, Incomplete)
        self.service, self.asking = service, asking
        self._flight, self._claim, self._step = key, claim, step
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
        self.has_taken_over = False
        """Whether some of its readers have been through this before."""
        self._successor: Fill | Join | None = None
        """Where its readers are now."""
        self._task: asyncio.Task[None] | None = None

    @property
    def request(self) -> Request:
        """What whoever came first asked for."""
        return self.asking.asked

    @property
    def is_whole(self) -> bool:
        """Whether the last byte is there."""
        return self.body.length == self.length

    @property
    def is_resumable(self) -> bool:
        """Whether its readers can go on from another fetch."""
        return is_resumable(self.entry.stored, self.length)

    def fits(self, request: Request) -> bool:
        """Whether what comes is the response for `request`, as far as is known, and was not purged since."""
        cache = self.service.cache
        found = cache.find(request, self.service.now())
        if found.key != self.key or not cache.may_join(found.primary, self.number):
            return False
        return cache.may_serve(found.primary, self.entry)

    def start(self, resume: Callable[[Join], Awaitable[bool]]) -> None:
        """Follow, for others of this worker too.

        `resume` is called if the body does not come to its end: whether the readers go on all the same.
        """
        self.service.flights.add(self._flight, self)
        self._task = asyncio.get_running_loop().create_task(self._follow(resume))

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
        if not self.body.reader_count and self._task is not None:
            self._leave()
            self._task.cancel()
            self._task = None  # its frames hold us, and what was to be renewed: a circle otherwise

    async def _follow(self, resume: Callable[[Join], Awaitable[bool]]) -> None:
        goes_on = True
        try:
            while goes_on and not self.is_whole:
                goes_on = await self._claim.changed(self._step)
                self._step = self._claim.follow()
                self._look()
            self._leave()
            if self.is_whole:
                self.body.end()
            elif not await resume(self):
                self.service.counters[_CUT] += self.body.reader_count
        finally:
            self._leave()
            self.body.fail(self.error)  # of no effect if the body has ended, or its readers have moved

    def _leave(self) -> None:
        """Nobody joins any more; each reader lets go of what it has read."""
        self.service.flights.remove(self._flight, self)
        self.body.stop_retaining()

    def _look(self) -> None:
        record = self.service.cache.under_way(self._claim.name)
        if record is not None and record.length > self.body.length and record.meta == self._meta:
            self.body.keep(record)

    # How its readers go on.

    def completes_with(self, record: Record) -> None:
        """What is stored is the same."""
        self._count_resumed()
        self.body.keep(record)
        self.body.end()

    def moves_to(self, flight: Fill | Join) -> None:
        """What comes there is the same."""
        self._count_resumed()
        if isinstance(flight, Join):
            flight.has_taken_over = True
        self._successor = flight
        self.body.hand_over(flight.body)

    async def goes_on_with(self, response: OriginResponse) -> None:
        """Give the readers what follows on what they have, from a response of the same; raises what that fails with."""
        self._count_resumed()
        offset = 0
        while self.body.reader_count and (data := await response.read()):
            offset += len(data)
            if offset > self.body.length:
                self.body.append(data[self.body.length - offset :])
                await self.body.room()
        self.body.end()

    def _count_resumed(self) -> None:
        self.service.counters[_RESUMED] += self.body.reader_count
