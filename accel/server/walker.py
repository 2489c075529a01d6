"""Walks over a whole shared arena, each in a child of the arbiter: to prove it, and to sweep it.

A walk takes most of a second for each GiB, or for each few 100,000 records, and the arbiter has heartbeats to watch.
Invariant: one walk at a time, since all use the one row of pins that no worker has; whatever the child dies of, the
row is cleared. The child may be forked while the event loop runs: it has every signal blocked and touches nothing but
its pipe. It has all of the arbiter's descriptors, the lifeline too (`upgrade`), since it pins; so that it keeps nobody
from seeing the arbiter's end, the kernel kills it when the arbiter dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from accel.errors import AccelError
from accel.proxy.sweeping import Job, Sweep

if TYPE_CHECKING:
    from accel.store.shared import SharedArena

_NICE = 10
_PR_SET_PDEATHSIG = 1


class WalkFailed(AccelError):
    """There was no child, or it ended without its result."""


class Walker:
    """The arbiter's walks over one arena."""

    def __init__(self, arena: SharedArena) -> None:
        self._arena = arena
        self._turn = asyncio.Lock()

    async def check(self) -> dict[str, Any]:
        """Return what a walk that proves everything counted, and the faults that it found."""
        found: dict[str, Any] = await self._in_child(lambda: asdict(self._arena.check()))
        return found

    async def sweep(self, jobs: Sequence[Job]) -> tuple[list[int], int]:
        """Free what the jobs cover; return how many responses each covered, and how many went."""

        def swept() -> tuple[list[int], int]:
            sweep = Sweep(jobs)
            self._arena.sweep(sweep.judge, sweep.settle)
            return sweep.counts, sweep.dropped

        counts, dropped = await self._in_child(swept)
        return counts, dropped

    async def _in_child(self, work: Callable[[], object]) -> Any:
        """Return what `work` returns in a child, as JSON carries it; raises WalkFailed."""
        async with self._turn:
            try:
                pid, read = _forked(work)
            except OSError as error:
                raise WalkFailed(f"no walk over the store could begin: {error.strerror}") from error
            try:
                data = await _read_all(read)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
            finally:
                os.close(read)
                os.waitpid(pid, 0)  # noqa: ASYNC222 - its pipe has ended, or it was killed
                self._arena.forget_walker()
        try:
            return json.loads(data)
        except ValueError:
            raise WalkFailed("the walk over the store ended early") from None


def _forked(work: Callable[[], object]) -> tuple[int, int]:
    """Begin `work` in a child; return its pid and where its result comes. Raises OSError, with nothing begun."""
    read, write = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _be_walk(work, parent, write)
    except OSError:
        os.close(read)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(write)
    return pid, read


def _be_walk(work: Callable[[], object], parent: int, write: int) -> None:
    """In the child: tell what `work` returns, and end the process. Never returns."""
    try:
        _die_with_parent(parent)
        os.nice(_NICE)
        result = json.dumps(work())
        with os.fdopen(write, "w") as pipe:
            pipe.write(result)
    finally:
        os._exit(0)


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(0)


async def _read_all(descriptor: int) -> bytes:
    """Return what comes through a pipe until its end."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    while True:
        readable = loop.create_future()
        loop.add_reader(descriptor, readable.set_result, None)
        try:
            await readable
        finally:
            loop.remove_reader(descriptor)
        part = os.read(descriptor, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
