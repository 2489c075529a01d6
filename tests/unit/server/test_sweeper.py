"""When a ban may end, who shares a sweep, and what a worker that does not answer costs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from fake_channel import FakeChannel, turn

from accel.caching.invalidation import What
from accel.proxy.sweeping import Job
from accel.server import sweeper as module
from accel.server.channel import Dropped, WalkOwn
from accel.server.questions import Questions
from accel.server.sweeper import Sweeper, Swept
from accel.server.walker import Walker, WalkFailed
from accel.store.numbers import Numbers


class FakeWalker(Walker):
    """A walk that a test ends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.walks: list[tuple[Sequence[Job], asyncio.Future[tuple[list[int], int]]]] = []

    async def sweep(self, jobs: Sequence[Job]) -> tuple[list[int], int]:
        """Wait for the test."""
        end: asyncio.Future[tuple[list[int], int]] = asyncio.get_running_loop().create_future()
        self.walks.append((jobs, end))
        self.began.set()
        return await end


class Stage:
    """A sweeper over a shared store with one worker."""

    def __init__(self, is_private: bool = False) -> None:
        self.numbers = Numbers.alone()
        self.worker = FakeChannel()
        self.questions = Questions(lambda: [self.worker])
        self.walker = FakeWalker()
        self.sweeper = Sweeper(self.numbers, self.questions, None if is_private else self.walker)

    def ban(self) -> asyncio.Future[Swept]:
        """Publish a ban and have it swept."""
        number = self.numbers.ban("status == 404")
        return self.sweeper.add(Job(What.BAN, number, ban=self.numbers.bans()[-1]))

    def answer(self, *counts: int, dropped: int = 0) -> None:
        """The worker answers the last question."""
        told = self.worker.sent[-1]
        assert isinstance(told, WalkOwn)
        self.questions.heard(self.worker, Dropped(told.ticket, counts, dropped))


async def test_a_ban_ends_after_the_barrier_and_the_walk() -> None:
    stage = Stage()
    done = stage.ban()
    await turn()
    assert not stage.walker.walks, "it walks before the worker has left its commits"
    stage.answer()
    await turn()
    [(jobs, end)] = stage.walker.walks
    assert ([job.number for job in jobs], len(stage.numbers.bans())) == ([1], 1)

    end.set_result(([7], 7))

    assert await done == Swept(7, 1, 1, True)
    assert (stage.numbers.bans(), stage.numbers.swept(), stage.sweeper.swept) == ((), 1, 7)


async def test_a_worker_that_does_not_answer_leaves_the_ban_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BARRIER_S", 0.001)
    stage = Stage()
    done = stage.ban()
    await stage.walker.began.wait()
    stage.walker.walks[0][1].set_result(([3], 3))

    assert await done == Swept(3, 1, 0, False)
    assert len(stage.numbers.bans()) == 1


async def test_a_worker_that_dies_is_past_the_barrier() -> None:
    stage = Stage()
    stage.ban()
    await turn()
    stage.questions.lost(stage.worker)
    await turn()
    stage.walker.walks[0][1].set_result(([0], 0))
    await turn()
    assert stage.numbers.bans() == ()


async def test_a_walk_that_dies_leaves_the_ban_pending_and_a_tick_tries_again() -> None:
    stage = Stage()
    done = stage.ban()
    await turn()
    stage.answer()
    await turn()
    stage.walker.walks[0][1].set_exception(WalkFailed("gone"))
    assert await done == Swept(0, 1, 1, False)

    stage.sweeper.tick(0.0)
    await turn()
    assert len(stage.worker.sent) == 1, "tried again at once"
    stage.sweeper.tick(float("inf"))
    await turn()
    stage.answer()
    await turn()
    stage.walker.walks[1][1].set_result(([2], 2))
    await turn()

    assert stage.numbers.bans() == ()


async def test_while_another_program_shares_the_arena_no_ban_ends() -> None:
    stage = Stage()
    is_sharing = True
    stage.sweeper.is_sharing = lambda: is_sharing
    done = stage.ban()
    await turn()
    stage.answer()
    await turn()
    stage.walker.walks[0][1].set_result(([2], 2))
    assert (await done).count == 2
    assert len(stage.numbers.bans()) == 1
    stage.sweeper.tick(float("inf"))
    await turn()
    assert len(stage.walker.walks) == 1

    is_sharing = False
    stage.sweeper.tick(float("inf"))
    await turn()
    stage.answer()
    await turn()
    stage.walker.walks[1][1].set_result(([0], 0))
    await turn()

    assert stage.numbers.bans() == ()


async def test_what_comes_during_a_sweep_shares_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.0)
    stage = Stage()
    first = stage.sweeper.add(Job(What.TAG, 1, (b"a",)))
    await turn()
    later = [stage.sweeper.add(Job(What.TAG, number, (b"b",))) for number in (2, 3)]
    stage.answer()
    await turn()
    stage.walker.walks[0][1].set_result(([1], 1))
    assert (await first).count == 1
    await turn()
    stage.answer()
    await turn()
    jobs, end = stage.walker.walks[1]
    assert [job.number for job in jobs] == [2, 3]
    end.set_result(([5, 6], 8))

    assert [(await done).count for done in later] == [5, 6]
    assert stage.sweeper.swept == 9


async def test_private_stores_are_walked_by_their_workers() -> None:
    stage = Stage(is_private=True)
    done = stage.ban()
    await turn()
    told = stage.worker.sent[-1]
    assert isinstance(told, WalkOwn)
    assert [job.number for job in told.jobs] == [1]

    stage.answer(4, dropped=4)

    assert await done == Swept(4, 1, 1, True)
    assert (stage.numbers.bans(), stage.sweeper.swept) == ((), 4)


async def test_a_sweep_under_way_is_stopped_at_the_end() -> None:
    stage = Stage()
    done = stage.ban()
    await turn()

    await stage.sweeper.close()

    assert not done.done()
    assert len(stage.numbers.bans()) == 1
