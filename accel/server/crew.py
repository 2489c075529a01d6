"""The workers as the arbiter keeps them: forked, watched, judged, replaced and retired.

Owns the children's pids and the arbiter's end of their channels; knows no configuration and no operator. Invariants:

- forks happen between two runs of the event loop, so that a child inherits no running loop, and with signals blocked,
  so that a signal is taken by the parent or by the child and never by both;
- a child is waited for by its own pid only, and signalled only before it was waited for: the pid is still its own;
- nobody is judged by a clock that stood still with the judge (a suspended machine, SIGSTOP to all): then every worker
  gets a full timeout again.

What a death at any point leaves: the row's gauges and in-flight cells, which `_bury` clears, being the row's only
writer from then on. Its counters stay and the successor counts on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from accel.server import worker
from accel.server.channel import Channel, Message
from accel.server.journal import note
from accel.server.scoreboard import WORKER_ROWS, Scoreboard, WorkerState

_STOOD_STILL_S = 1.0
"""A look that comes so long after the last one means that the arbiter was stopped: heartbeats prove nothing."""
_QUICK_DEATH_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_DUMP_S = 0.3
"""Between SIGABRT, for the stacks, and SIGKILL."""

HANDLED = (
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCHLD,
)
"""The signals that mean something to the arbiter."""
_NOT_FOR_WORKERS = frozenset(
    {signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
"""Ignored by a worker until it has its own handlers, so that a signal to the whole group ends nobody."""


@dataclass(slots=True, eq=False)
class Child:
    """One worker."""

    row: int
    pid: int
    channel: Channel
    started_mono: float
    is_retiring: bool = False
    condemned_mono: float | None = None
    """When it was found stuck and got SIGABRT."""


class Parent(Protocol):
    """What the crew needs of the arbiter."""

    def birth(self, row: int, channel: Channel) -> worker.Birth:
        """Return what the next worker of `row` is to get."""
        ...

    def leave_behind(self, birth: worker.Birth) -> None:
        """In the child: close what is the arbiter's or other workers'."""
        ...

    def heard(self, child: Child, message: Message) -> None:
        """A worker said something."""
        ...

    def lost(self, child: Child) -> None:
        """A worker is dead and its row is cleared."""
        ...


class Crew:
    """All workers."""

    def __init__(self, parent: Parent, board: Scoreboard, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._parent = parent
        self._board = board
        self._loop = loop
        self.timeout_s = timeout_s
        """A heartbeat older than this means stuck."""
        self._children: dict[int, Child] = {}
        self._quick_deaths = 0
        self._no_fork_before = 0.0
        self._last_look = time.monotonic()
        self._judge_after = 0.0
        self.restarts = [0] * WORKER_ROWS
        self.has_served = False
        """Whether all workers accepted at some time."""
        self.is_stopping = False

    def __len__(self) -> int:
        return len(self._children)

    @property
    def children(self) -> list[Child]:
        """The workers by row."""
        return sorted(self._children.values(), key=lambda child: child.row)

    def keep(self, wanted: int) -> None:
        """Retire those beyond `wanted`, fork those that are missing. The event loop must not run meanwhile."""
        staying = [child for child in self.children if not child.is_retiring]
        for child in staying[wanted:]:
            child.is_retiring = True
            os.kill(child.pid, signal.SIGTERM)
        for _ in range(wanted - len(staying)):
            row = next((row for row in range(WORKER_ROWS) if row not in self._children), None)
            if row is None or time.monotonic() < self._no_fork_before:
                return
            try:
                self._fork(row)
            except OSError as error:  # no process or descriptor left: no reason to end those that serve
                self._board.clear_gauges(row)
                note("fork-failed", worker=row + 1, why=error.strerror)
                self._wait_to_fork()
                return

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for child in self._children.values():
            os.kill(child.pid, number)

    def reap(self) -> Child | None:
        """Bury the dead; return one that died before anybody ever served: then nobody will."""
        failed = None
        for child in self.children:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid and self._bury(child, os.waitstatus_to_exitcode(status)):
                failed = child
        return failed

    def watch(self, now: float, wanted: int) -> bool:
        """Judge heartbeats; return whether just now all workers accept for the first time. `now` is monotonic."""
        if now - self._last_look > _STOOD_STILL_S:
            self._judge_after = now + self.timeout_s
        self._last_look = now
        for child in self._children.values():
            if child.condemned_mono is not None:
                if now - child.condemned_mono > _DUMP_S:
                    os.kill(child.pid, signal.SIGKILL)
            elif now >= self._judge_after and now - self._board.heartbeat_ns(child.row) / 1e9 > self.timeout_s:
                self._condemn(child, now)
        return self._is_first_service(wanted)

    def end(self) -> None:
        """Kill and wait for whoever is left."""
        self.signal(signal.SIGKILL)
        for child in self._children.values():
            os.waitpid(child.pid, 0)

    # Birth.

    def _fork(self, row: int) -> None:
        self._board.use_rows(row + 1)
        self._board.assign(row)
        ours, theirs = Channel.pair()
        birth = self._parent.birth(row, theirs)
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(birth, ours)
        except OSError:
            ours.forget()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            theirs.forget()
        child = self._children[row] = Child(row, pid, ours, time.monotonic())
        ours.listen(self._loop, partial(self._parent.heard, child), lambda: None)

    def _be_worker(self, birth: worker.Birth, parents_end: Channel) -> None:
        """In the child: drop what is the arbiter's, serve, and end the process. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_IGN if number in _NOT_FOR_WORKERS else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            parents_end.forget()
            for child in self._children.values():
                child.channel.forget()
            asyncio.set_event_loop(None)
            self._parent.leave_behind(birth)
            code = worker.run(birth)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)  # what the arbiter registered for its own end is not ours to run

    def _is_first_service(self, wanted: int) -> bool:
        if self.has_served or len(self._children) < wanted:
            return False
        states = [self._board.worker_state(row) for row in self._children]
        self.has_served = all(state is WorkerState.ACCEPTING for state in states)
        return self.has_served

    # Death.

    def _condemn(self, child: Child, now: float) -> None:
        note("worker-stuck", worker=child.row + 1, pid=child.pid, silent_s=self.timeout_s, see="its stacks below")
        child.condemned_mono = now
        os.kill(child.pid, signal.SIGABRT)
        os.kill(child.pid, signal.SIGCONT)  # a stopped process takes no other signal

    def _bury(self, child: Child, code: int) -> bool:
        """Clear what the dead worker left; return whether it failed to start."""
        state = self._board.worker_state(child.row)
        self._board.clear_gauges(child.row)
        child.channel.close()
        del self._children[child.row]
        self._parent.lost(child)
        if child.is_retiring or self.is_stopping:
            return False
        note("worker-died", worker=child.row + 1, pid=child.pid, why=why_ended(code))
        self.restarts[child.row] += 1
        self._back_off(time.monotonic() - child.started_mono)
        return state is WorkerState.STARTING and not self.has_served

    def _back_off(self, lived_s: float) -> None:
        """Let a crash loop turn slower and slower."""
        if lived_s > _QUICK_DEATH_S:
            self._quick_deaths = 0
            return
        self._wait_to_fork()

    def _wait_to_fork(self) -> None:
        self._quick_deaths += 1
        delay_s = min(_LONGEST_BACKOFF_S, 0.125 * 2**self._quick_deaths)
        self._no_fork_before = time.monotonic() + delay_s
        note("crash-loop", next_worker_in_s=delay_s)


def why_ended(code: int) -> str:
    """Return why a process ended: not every signal has a name (the real-time ones between the first and the last)."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
