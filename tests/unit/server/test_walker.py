"""Walks over an arena in a child: their results, their turn, and what is left of one that dies."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from accel.caching.invalidation import What
from accel.caching.stored import PassMark, encode
from accel.proxy.sweeping import Job, Sweep
from accel.server.walker import Walker, WalkFailed
from accel.store import layout
from accel.store.shared import SharedArena, SharedStore

ALL = Job(What.ALL, 5)


@pytest.fixture
def arena() -> SharedArena:
    """Return an arena with one mark in it, fetched under number 1."""
    arena = SharedArena(4 << 20, 2)
    SharedStore(arena, 0).put(b"a\0/", encode(PassMark(9.0, 1)))
    return arena


def pins_of_walks(arena: SharedArena) -> bytes:
    """Return the row of pins that walks use."""
    plan = arena.plan
    at = plan.pins_at + layout.SIDES * plan.row_count * plan.pins_stride * 4
    return arena.mapping[at : at + plan.pins_stride * 4]


def open_descriptors() -> list[Path]:
    """Return what this process has open."""
    return sorted(Path("/proc/self/fd").iterdir())


def wait_pinned(arena: SharedArena) -> None:
    """Wait until a walk has a record in its hands."""
    deadline = time.monotonic() + 30
    while not any(pins_of_walks(arena)):
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_a_sweep_in_a_child_is_seen_here(arena: SharedArena) -> None:
    counts, dropped = await Walker(arena).sweep([ALL])

    assert (counts, dropped) == ([0], 0)
    assert arena.map.count_records() == 0
    assert not any(pins_of_walks(arena))


async def test_a_check_in_a_child_says_what_it_found(arena: SharedArena) -> None:
    found = await Walker(arena).check()

    assert (found["records"], found["faults"]) == (1, [])


async def test_walks_take_turns(arena: SharedArena, monkeypatch: pytest.MonkeyPatch) -> None:
    walker = Walker(arena)

    found, swept = await asyncio.gather(walker.check(), walker.sweep([ALL]))

    assert (found["reachable"], swept, arena.map.count_records()) == (1, ([0], 0), 0)


async def test_a_walk_that_is_killed_over_a_record_leaves_no_pin(
    arena: SharedArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "judge", lambda *_: os.kill(os.getpid(), signal.SIGKILL))

    with pytest.raises(WalkFailed):
        await Walker(arena).sweep([ALL])

    assert not any(pins_of_walks(arena))
    assert arena.map.count_records() == 1


async def test_a_walk_that_is_given_up_is_killed(arena: SharedArena, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    fork = os.fork

    def noted_fork() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", noted_fork)
    monkeypatch.setattr(Sweep, "judge", lambda *_: signal.pause())
    walking = asyncio.ensure_future(Walker(arena).sweep([ALL]))
    await asyncio.to_thread(wait_pinned, arena)

    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking

    assert not any(pins_of_walks(arena))
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)  # noqa: ASYNC222 - it does not wait


def test_a_walk_dies_with_its_arbiter(arena: SharedArena) -> None:
    """The arbiter is a child here, the walk its child; the pipe that both hold tells when both are gone."""
    read, write = os.pipe()
    arbiter = os.fork()
    if arbiter == 0:
        os.close(read)
        Sweep.judge = lambda *_: signal.pause()  # type: ignore[method-assign,assign,return-value]
        asyncio.run(Walker(arena).sweep([ALL]))
    os.close(write)
    wait_pinned(arena)

    os.kill(arbiter, signal.SIGKILL)
    os.waitpid(arbiter, 0)

    assert os.read(read, 1) == b""
    os.close(read)


async def test_without_a_process_left_a_walk_fails_and_signals_still_arrive(
    arena: SharedArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, "no process left")

    masked, open_before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), open_descriptors()
    monkeypatch.setattr(os, "fork", refused)

    with pytest.raises(WalkFailed, match="no process left"):
        await Walker(arena).sweep([ALL])

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == masked
    assert open_descriptors() == open_before
