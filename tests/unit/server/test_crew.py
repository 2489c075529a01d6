"""The crew where the machine or a worker does something rare: the arbiter and the other workers live on."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from accel.server.channel import Channel
from accel.server.crew import Child, Crew
from accel.server.scoreboard import Scoreboard, WorkerState
from accel.server.worker import Birth


class Arbiter:
    """A parent whose workers wait to be killed."""

    def __init__(self) -> None:
        self.lost_rows: list[int] = []

    def birth(self, row: int, channel: Channel) -> Birth:
        """See `crew.Parent`."""
        return Birth.__new__(Birth)

    def leave_behind(self, birth: Birth) -> None:
        """See `crew.Parent`: in the child."""
        while True:
            signal.pause()

    def heard(self, child: Child, message: object) -> None:
        """See `crew.Parent`."""

    def lost(self, child: Child) -> None:
        """See `crew.Parent`."""
        self.lost_rows.append(child.row)


def descriptors_open() -> int:
    """Return how many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def arbiter() -> Arbiter:
    """Return the parent."""
    return Arbiter()


@pytest.fixture
async def crew(arbiter: Arbiter) -> Crew:
    """Return a crew without a worker."""
    return Crew(arbiter, Scoreboard(), asyncio.get_running_loop(), 3.0)


async def test_without_a_process_to_be_had_the_crew_waits_and_tries_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    descriptors = descriptors_open()
    crew.keep(2)
    crew.keep(2)
    assert len(crew) == 0
    assert capsys.readouterr().err.count("fork-failed worker=1") == 1, "the second time it waits"
    assert descriptors_open() == descriptors
    assert crew._board.worker_state(0) is WorkerState.NONE
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


async def test_a_worker_killed_by_a_signal_without_a_name_is_buried_as_any(
    crew: Crew, arbiter: Arbiter, capsys: pytest.CaptureFixture[str]
) -> None:
    crew.keep(1)
    [child] = crew.children
    os.kill(child.pid, signal.SIGRTMIN + 3)
    while len(crew):
        crew.reap()
        await asyncio.sleep(0)
    assert arbiter.lost_rows == [0]
    assert f"why='signal {signal.SIGRTMIN + 3}'" in capsys.readouterr().err
