"""Invalidation over all workers: the arbiter takes the numbers, workers ask for them.

`RemoteInvalidator` is the worker's half, `Invalidations` the arbiter's. Order: the number is written to the
scoreboard first, and from that store on no worker serves what it covers; only then are the workers told to free the
memory and asked how much that was. A worker that does not answer (stopped, stuck) is left out of the receipt after
`ANSWER_S`: it serves nothing old either, because it compares numbers too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from accel.errors import RequestError
from accel.proxy.service import Receipt
from accel.server.channel import Channel, Drop, Dropped, Invalidate, Invalidated
from accel.server.scoreboard import Scoreboard

ANSWER_S = 1.0
_ARBITER_S = 5.0


class RemoteInvalidator:
    """Asks the arbiter; serves `proxy.service.Invalidator`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Invalidated]] = {}

    async def invalidate(self, keys: tuple[bytes, ...], counted: bool) -> Receipt:
        """See `Invalidator`; raises RequestError 503 if the arbiter does not answer."""
        ticket = next(self._tickets)
        answer = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            if not self._channel.send(Invalidate(ticket, keys, counted)):
                raise RequestError(503, "the arbiter is gone")
            async with asyncio.timeout(_ARBITER_S):
                said = await answer
        except TimeoutError:
            raise RequestError(503, "the arbiter does not answer") from None
        finally:
            del self._waiting[ticket]
        return Receipt(said.dropped, said.workers, said.answered)

    def answered(self, message: Invalidated) -> None:
        """The arbiter's answer arrived."""
        waiting = self._waiting.get(message.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


class _Count:
    """One invalidation's answers, as they come."""

    def __init__(self, channels: list[Channel]) -> None:
        self.dropped = 0
        self.asked = set(channels)
        self.missing = set(channels)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(self, channel: Channel, dropped: int) -> None:
        """One worker answered, or died (and dropped nothing that anybody could still get)."""
        if channel in self.missing:
            self.missing.discard(channel)
            self.dropped += dropped
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class Invalidations:
    """Takes numbers and asks all workers to free what they cover. In the arbiter only."""

    def __init__(self, board: Scoreboard, channels: Callable[[], Iterable[Channel]]) -> None:
        self._board = board
        self._channels = channels
        self._tickets = count()
        self._counts: dict[int, _Count] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def invalidate(self, keys: tuple[bytes, ...], counted: bool = True) -> Receipt:
        """See `proxy.service.Invalidator`."""
        for key in keys:
            self._board.invalidate(key)
        ticket = next(self._tickets)
        told = [channel for channel in self._channels() if channel.send(Drop(ticket, keys))]
        workers = len(list(self._channels()))
        if not counted or not told:
            return Receipt(0, workers, 0)
        counting = self._counts[ticket] = _Count(told)
        try:
            await asyncio.wait((counting.done,), timeout=ANSWER_S)
        finally:
            del self._counts[ticket]
        return Receipt(counting.dropped, workers, len(counting.asked) - len(counting.missing))

    def asked(self, channel: Channel, message: Invalidate) -> None:
        """A worker wants keys invalidated."""
        task = asyncio.get_running_loop().create_task(self._answer(channel, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def dropped(self, channel: Channel, message: Dropped) -> None:
        """A worker says what it freed."""
        counting = self._counts.get(message.ticket)
        if counting is not None:
            counting.heard(channel, message.count)

    def lost(self, channel: Channel) -> None:
        """A worker is gone and will not answer."""
        for counting in self._counts.values():
            counting.heard(channel, 0)

    async def _answer(self, channel: Channel, message: Invalidate) -> None:
        receipt = await self.invalidate(message.keys, message.counted)
        channel.send(Invalidated(message.ticket, receipt.dropped, receipt.workers, receipt.answered))
