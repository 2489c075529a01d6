"""Invalidation over all workers: the arbiter takes the numbers, workers ask for them.

`RemoteInvalidator` is the worker's half, `Invalidations` the arbiter's. Order: the number is published first
(`store.numbers`), and from then on no worker serves what it covers; only then is the memory freed and counted: of
URLs by the workers, who find it by key, of everything else by a sweep. A worker that does not answer (stopped, stuck)
is left out of the receipt after a while: it serves nothing old either, because it looks at the numbers too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from accel.caching import ban
from accel.caching.invalidation import Purge, What
from accel.errors import RequestError
from accel.proxy.covering import key_names, tag_names
from accel.proxy.service import Receipt
from accel.proxy.sweeping import Job
from accel.server.channel import Channel, Drop, Dropped, Invalidate, Invalidated
from accel.server.questions import Questions
from accel.server.sweeper import Sweeper
from accel.server.walker import Walker
from accel.store.numbers import Numbers, TooManyBans

ANSWER_S = 1.0
COUNTING_S = 3.0
"""A receipt waits so long for a sweep; then it says that counting goes on."""
_ARBITER_S = 5.0


class RemoteInvalidator:
    """Asks the arbiter; serves `proxy.service.Invalidator`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Invalidated]] = {}

    async def invalidate(self, purge: Purge, counted: bool) -> Receipt:
        """See `Invalidator`; raises RequestError 503 if the arbiter does not answer."""
        ticket = next(self._tickets)
        answer = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            if not self._channel.send(Invalidate(ticket, purge.what.value, purge.names, purge.is_soft, counted)):
                raise RequestError(503, "the arbiter is gone")
            async with asyncio.timeout(_ARBITER_S):
                said = await answer
        except TimeoutError:
            raise RequestError(503, "the arbiter does not answer") from None
        finally:
            del self._waiting[ticket]
        if said.status == 400:
            raise ValueError(said.why)
        if said.status:
            raise RequestError(said.status, said.why)
        return Receipt(said.count, said.workers, said.answered, said.is_counting)

    def answered(self, message: Invalidated) -> None:
        """The arbiter's answer arrived."""
        waiting = self._waiting.get(message.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


class Invalidations:
    """Publishes invalidations and has what they cover freed. In the arbiter only."""

    def __init__(
        self, numbers: Numbers, channels: Callable[[], Iterable[Channel]], walker: Walker | None = None
    ) -> None:
        """`walker` None: each worker has a store of its own."""
        self.numbers = numbers
        self.walker = walker
        self._questions = Questions(channels)
        self.sweeper = Sweeper(numbers, self._questions, walker)
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: Counter[str] = Counter()

    def counters(self) -> dict[str, int]:
        """Return the counters of `stats.counters` that are counted here."""
        return {**self._counts, "swept": self.sweeper.swept}

    async def invalidate(self, purge: Purge, counted: bool = True) -> Receipt:
        """See `proxy.service.Invalidator`."""
        self._counts["purges_soft"] += purge.is_soft
        match purge.what:
            case What.URL:
                return await self._of_urls(purge, counted)
            case What.TAG:
                self._counts["purges_tag"] += len(purge.names)
                number = self.numbers.invalidate(self._cells(tag_names(purge.names)), purge.is_soft)
                return await self._swept(Job(What.TAG, number, purge.names, purge.is_soft))
            case What.ALL:
                self._counts["purges_all"] += 1
                return await self._swept(
                    Job(What.ALL, self.numbers.invalidate_all(purge.is_soft), is_soft=purge.is_soft)
                )
            case What.BAN:
                return await self._swept(self._banned(purge.names[0].decode()))

    def asked(self, channel: Channel, message: Invalidate) -> None:
        """A worker wants something invalidated."""
        task = asyncio.get_running_loop().create_task(self._answer(channel, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def answered(self, channel: Channel, message: Dropped) -> None:
        """A worker answers."""
        self._questions.heard(channel, message)

    def lost(self, channel: Channel) -> None:
        """A worker is gone and will not answer."""
        self._questions.lost(channel)

    async def close(self) -> None:
        """Stop what is under way."""
        await self.sweeper.close()
        for task in self._tasks:
            task.cancel()

    async def _of_urls(self, purge: Purge, counted: bool) -> Receipt:
        self._counts["purges"] += len(purge.names)
        for cell in self._cells(key_names(purge.names)):
            self.numbers.invalidate((cell,), purge.is_soft)
        answers = await self._questions.ask(
            lambda ticket: Drop(ticket, purge.names, purge.is_soft), ANSWER_S if counted else 0
        )
        per_key = zip(*(said.counts for said in answers.said), strict=False)
        # A soft one frees nothing: each worker finds the same in a shared store.
        together = max if self.walker is not None and purge.is_soft else sum
        return Receipt(sum(map(together, per_key)), answers.workers, len(answers.said))

    def _banned(self, text: str) -> Job:
        """Publish a ban; raises ValueError if it cannot be read, RequestError 503 if there are too many."""
        ban.parse(text)
        try:
            number = self.numbers.ban(text)
        except TooManyBans:
            raise RequestError(503, "too many bans are pending; 'accelctl bans' shows them: try later") from None
        self._counts["bans"] += 1
        pending = next(pending for pending in self.numbers.bans() if pending.number == number)
        return Job(What.BAN, number, ban=pending)

    async def _swept(self, job: Job) -> Receipt:
        done = self.sweeper.add(job)
        await asyncio.wait((done,), timeout=COUNTING_S)
        if not done.done():
            return Receipt(0, self._questions.workers, 0, is_counting=True)
        swept = done.result()
        return Receipt(swept.count, swept.workers, swept.answered, is_counting=not swept.is_whole)

    def _cells(self, names: list[bytes]) -> list[int]:
        return [self.numbers.cell(name) for name in names]

    async def _answer(self, channel: Channel, message: Invalidate) -> None:
        try:
            purge = Purge(What(message.what), message.names, message.is_soft)
            receipt = await self.invalidate(purge, message.counted)
        except ValueError as error:
            channel.send(Invalidated(message.ticket, status=400, why=str(error)))
        except RequestError as error:
            channel.send(Invalidated(message.ticket, status=error.status, why=error.why))
        else:
            said = Invalidated(
                message.ticket, receipt.count, receipt.workers, receipt.answered, receipt.is_counting
            )
            channel.send(said)
