# cython: annotation_typing=False, show_performance_hints=False
"""Fetches that wait because every backend that is up is full: first come first served, bounded in length
and time.

Places that this worker frees wake the first waiter at once. Those that other workers free are seen only on
the board, so while anybody waits it is looked at again every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from accel.errors import NoBackend
from accel.origin.balancer import Backend, Balancer

RECHECK_S = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    place: asyncio.Future[Backend]
    exclude: Collection[int]
    deadline: float


class FetchQueue:
    """The waiting fetches of one worker."""

    __slots__ = ("_balancer", "_length", "_timer", "_wait_s", "_waiters")

    def __init__(self, balancer: Balancer, length: int, wait_s: float) -> None:
        self._balancer = balancer
        self._length = length
        self._wait_s = wait_s
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    def claim_now(self, exclude: Collection[int] = ()) -> Backend | None:
        """Claim a place on a backend outside `exclude` if one is free and nobody waits before us."""
        return None if self._waiters else self._balancer.pick(exclude)

    async def claim(self, exclude: Collection[int] = ()) -> Backend:
        """Claim a place on a backend outside `exclude`, waiting for one if need be; raises NoBackend."""
        backend = self.claim_now(exclude)
        if backend is not None:
            return backend
        if not self._balancer.has_available(exclude):
            raise NoBackend("no backend is up")
        if len(self._waiters) >= self._length:
            raise NoBackend("every backend is full, and the queue too")
        return await self._wait(exclude)

    def release(self, backend: Backend) -> None:
        """Give a claimed place back, to who waits for one."""
        self._balancer.release(backend)
        if self._waiters:
            self.serve()

    def serve(self) -> None:
        """Give free places to waiters in their order; called when this worker has freed one."""
        now = asyncio.get_running_loop().time() if self._waiters else 0.0
        while self._waiters and self._settle(self._waiters[0], now):
            self._waiters.popleft()

    async def _wait(self, exclude: Collection[int]) -> Backend:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), exclude, loop.time() + self._wait_s)
        self._waiters.append(waiter)
        if self._timer is None:
            self._timer = loop.call_later(RECHECK_S, self._recheck)
        try:
            return await waiter.place
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def _forget(self, waiter: _Waiter) -> None:
        """Take a cancelled waiter out, or give back the place that it had just been given."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif not waiter.place.cancelled() and waiter.place.exception() is None:
            self.release(waiter.place.result())

    def _recheck(self) -> None:
        self._timer = None
        self.serve()
        if self._waiters:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._recheck)

    def _settle(self, waiter: _Waiter, now: float) -> bool:
        """Give a waiter its place or its error; False if it has to go on waiting."""
        if waiter.place.done():
            return True
        backend = self._balancer.pick(waiter.exclude)
        if backend is not None:
            waiter.place.set_result(backend)
        elif not self._balancer.has_available(waiter.exclude):
            waiter.place.set_exception(NoBackend("no backend is up"))
        elif now >= waiter.deadline:
            waiter.place.set_exception(NoBackend(f"every backend was full for {self._wait_s:g} s"))
        else:
            return False
        return True
