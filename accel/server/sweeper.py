"""Sweeps after invalidations, in the arbiter: what they cover is counted and freed, and bans end.

One sweep runs at a time; invalidations that come meanwhile share the next one. Of a shared store a child walks the
index (`walker`), of private ones each worker walks its own.

When may a ban end? Its number is published first, so from then on no hit and no commit passes it unseen. A commit that
looked before that may still be between its look and its slot: so every worker is asked, and has left any commit when
it answers, for a commit is one step without an await. What is stored after that was matched; what was stored before,
the walk that begins now finds. After the walk the ban ends. If anything fails (a worker does not answer, the walk
dies) the ban stays pending, nobody gets what it covers, and the next attempt comes with the ticks. While another
program shares the arena its workers cannot be asked, so no ban ends then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accel.caching.invalidation import What
from accel.proxy.sweeping import Job
from accel.server.channel import WalkOwn
from accel.server.journal import note
from accel.server.questions import Answers, Questions
from accel.server.walker import Walker, WalkFailed
from accel.store.numbers import Numbers, PendingBan

BARRIER_S = 1.0
"""Workers that are asked have answered by then, or are stuck and will be replaced: then bans wait."""
OWN_WALK_S = 10.0
"""The same where each walks its own store."""
RETRY_S = 1.0
REST = 1.0
"""So many times a sweep's duration pass before the next: who purges without pause has half of one core swept for it."""
_BATCH = 256
"""Invalidations that share a sweep: what is told to a worker must fit a message."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did for one invalidation."""

    count: int
    workers: int
    answered: int
    is_whole: bool
    """Whether everything was looked at."""


class Sweeper:
    """Sweeps whatever it is given."""

    def __init__(self, numbers: Numbers, questions: Questions, walker: Walker | None) -> None:
        """`walker` None: the stores are private."""
        self._numbers = numbers
        self._questions = questions
        self._walker = walker
        self._waiting: list[tuple[Job, asyncio.Future[Swept]]] = []
        self._task: asyncio.Task[None] | None = None
        self._retry_mono = 0.0
        self.is_sharing: Callable[[], bool] = lambda: False
        """Whether another program's workers may use the same arena."""
        self.swept = 0
        """Responses freed so far."""

    def add(self, job: Job) -> asyncio.Future[Swept]:
        """Have a published invalidation swept; the future never fails."""
        done: asyncio.Future[Swept] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, done))
        self._begin()
        return done

    def tick(self, now: float) -> None:
        """Try again to end bans that are pending; `now` is monotonic."""
        if self._task is None and now >= self._retry_mono and not self.is_sharing() and self._numbers.bans():
            self._begin()

    async def close(self) -> None:
        """Stop a sweep under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            took_s = await self._sweep_waiting()
            while self._waiting:
                await asyncio.sleep(REST * took_s)
                took_s = await self._sweep_waiting()
        finally:
            self._task = None

    async def _sweep_waiting(self) -> float:
        """Sweep for whoever waits; return how many seconds it took."""
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        bans, may_end = self._numbers.bans(), not self.is_sharing()
        jobs = [job for job, _ in batch] + _unasked(bans, batch)
        began_mono = time.monotonic()
        answers, counts, is_whole = await self._sweep(jobs)
        took_s = time.monotonic() - began_mono
        self._retry_mono = began_mono + max(RETRY_S, 10 * took_s)
        for ban in bans if is_whole and may_end else ():
            self._numbers.end_ban(ban.number)
        for (_, done), count in zip(batch, counts, strict=False):
            if not done.done():
                done.set_result(Swept(count, answers.workers, len(answers.said), is_whole))
        return took_s

    async def _sweep(self, jobs: Sequence[Job]) -> tuple[Answers, list[int], bool]:
        """Return who answered, what each job covered, and whether everything was looked at."""
        if self._walker is None:
            return await self._have_walked(tuple(jobs))
        answers = await self._questions.ask(lambda ticket: WalkOwn(ticket, ()), BARRIER_S)
        try:
            counts, dropped = await self._walker.sweep(jobs)
        except WalkFailed as error:
            note("sweep-failed", why=error)
            return answers, [0] * len(jobs), False
        self.swept += dropped
        return answers, counts, answers.is_complete

    async def _have_walked(self, jobs: tuple[Job, ...]) -> tuple[Answers, list[int], bool]:
        answers = await self._questions.ask(lambda ticket: WalkOwn(ticket, jobs), OWN_WALK_S)
        self.swept += sum(said.dropped for said in answers.said)
        columns = zip(*(said.counts for said in answers.said), strict=False)
        return answers, list(map(sum, columns)) or [0] * len(jobs), answers.is_complete


def _unasked(bans: Sequence[PendingBan], batch: Sequence[tuple[Job, object]]) -> list[Job]:
    """Return jobs for the pending bans that nobody waits for: earlier attempts', another program's."""
    known = {job.number for job, _ in batch}
    return [Job(What.BAN, ban.number, ban=ban) for ban in bans if ban.number not in known]
